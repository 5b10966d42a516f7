"""Looks at a `report.html` in a real browser: what it asks for, what it complains of, and whether it works without help.

    pip install playwright==1.65.2          # its client only; the browser is the system's
    apt-get install chromium
    python scripts/check_page.py reports/latest/report.html SHOTS

Checks, each a line; the exit status is 1 where one fails. Screenshots (light and dark, 390 and 1440 pixels wide, without
styles and scripts) and a PDF go to the folder SHOTS.
"""

import pathlib
import sys
import time

from playwright.sync_api import sync_playwright

BROWSER = "/usr/bin/chromium"
# What mail programs and CI servers allow: nothing inline.
STRICT = "default-src 'none'; style-src 'self'; img-src 'self'"
failed = []


def check(what, holds, more=""):
    print("ok  " if holds else "FAIL", what, more)
    if not holds:
        failed.append(what)


def opened(browser, url, requests, errors, **options):
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    began = time.perf_counter()
    page.goto(url, wait_until="load")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))") if options.get(
        "java_script_enabled", True
    ) else None
    return page, time.perf_counter() - began


def strict(page_file, shots, browser):
    """The page as a server with a content policy hands it out."""
    text = page_file.read_text()
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": STRICT}
    page.route("**/*", lambda route: route.fulfill(status=200, headers=headers, body=text))
    page.goto("http://report.test/report.html", wait_until="load")
    check("strict policy: scripts and styles are off", page.locator(".tools").count() == 0)
    check("strict policy: tables have borders", page.locator("table").first.evaluate("t => getComputedStyle(t.rows[1].cells[1]).borderTopWidth") != "0px")
    if page.locator("figure svg circle").count():
        colours = page.locator("figure svg circle").first.evaluate("c => getComputedStyle(c).stroke")
        check("strict policy: plots have colours", colours not in ("none", "rgb(0, 0, 0)"), colours)
    if page.locator("mark").count():
        marked = page.locator("mark").first.evaluate("m => getComputedStyle(m).backgroundColor")
        check("strict policy: tokens are marked", marked not in ("rgba(0, 0, 0, 0)", "transparent"), marked)
    page.screenshot(path=shots / "strict.png")
    context.close()


def main(page_file, shots):
    shots.mkdir(parents=True, exist_ok=True)
    url = page_file.resolve().as_uri()
    check("smaller than 10 MB", page_file.stat().st_size < 10e6, f"{page_file.stat().st_size / 1e6:.2f} MB")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for width, height in ((1440, 1000), (390, 844)):
                requests, errors = [], []
                size = {"width": width, "height": height}
                page, seconds = opened(browser, url, requests, errors, viewport=size, color_scheme=scheme)
                name = f"{scheme}, {width} px"
                # `data:` is no request to anybody.
                asked = [r for r in requests if r != url and not r.startswith("data:")]
                check(f"{name}: no request", not asked, str(asked[:3]))
                check(f"{name}: no console error", not errors, str(errors[:3]))
                check(f"{name}: open in two seconds", seconds < 2, f"{seconds:.2f} s")
                wide = page.evaluate("document.documentElement.scrollWidth")
                check(f"{name}: nothing is wider than the screen", wide <= width, str(wide))
                page.screenshot(path=shots / f"{scheme}-{width}.png")
                if page.locator(".examples").count():
                    page.locator(".examples").first.scroll_into_view_if_needed()
                    page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
                    page.locator(".examples").first.evaluate("e => e.scrollIntoView()")
                    page.screenshot(path=shots / f"{scheme}-{width}-examples.png")
                page.context.close()

        requests, errors = [], []
        page, _ = opened(browser, url, requests, errors, viewport={"width": 1440, "height": 1000})
        table = page.locator("table").first
        before = table.locator("tbody").inner_text()
        table.locator("thead button").first.focus()
        page.keyboard.press("Enter")
        cells = table.locator("tbody tr > :first-child").all_inner_texts()
        check("a key sorts a table", cells == sorted(cells, key=str.lower), str(cells[:3]))
        check("the order is in the address", "t1=0a" in page.url, page.url[-20:])
        page.reload()
        check("and comes back with it", table.locator("tbody tr > :first-child").all_inner_texts() == cells)
        for _ in range(2):
            table.locator("thead button").first.click()
        check("the third press gives back the first order", table.locator("tbody").inner_text() == before)
        if page.locator(".example").count() > 1:
            places = page.locator(".examples").count()
            page.locator(".tools select").first.select_option(index=1)
            visible = page.locator(".examples:not([hidden])").count()
            check("a task can be chosen", visible == 1 or places == 1, f"{visible} of {places}")
            page.locator(".example:visible > summary").nth(1).click()
            opened_id = page.locator(".example[open]:visible").last.get_attribute("id")
            check("the open example is in the address", f"open={opened_id}" in page.url, page.url[-40:])
            page.reload()
            check("and opens again", page.locator(f"#{opened_id}[open]").count() == 1)
        links = page.locator('td a[href^="#e"], th a[href^="#e"]')
        if links.count():
            wanted = links.last.get_attribute("href")
            links.last.click()
            check("a link opens its example", page.locator(f".example{wanted}[open]").count() == 1, wanted)
        check("no console error after all that", not errors, str(errors[:3]))
        page.context.close()

        page, _ = opened(browser, url, [], [], viewport={"width": 1440, "height": 1000}, java_script_enabled=False)
        text = page.locator("body").inner_text()
        check("without scripts: the answer is there", "Which method is most faithful" in text or "Verdicts" in text or "Nights" in text)
        check("without scripts: every plot is drawn", page.locator("figure svg").count() == page.locator("figure").count())
        page.context.close()
        strict(page_file, shots, browser)

        page, _ = opened(browser, url, [], [])
        unnamed = page.locator("svg:not([aria-labelledby])").count()
        check("every plot has words", unnamed == 0)
        page.pdf(path=shots / "report.pdf", format="A4", margin=dict.fromkeys(["top", "right", "bottom", "left"], "12mm"))
        check("prints to PDF", (shots / "report.pdf").stat().st_size > 10_000)
        browser.close()
    if failed:
        sys.exit(f"{len(failed)} failed")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
