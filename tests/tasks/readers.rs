//! Every reader on an example of its format, and on what people report of it.

use super::*;

#[test]
fn plain_formats_say_the_same() {
    let model = Model::bytes();
    for (file, evidence_of_first) in [
        ("jsonl.yaml", "wet|umbrellas|are|open"),
        ("json.yaml", "wet|umbrellas|are|open"),
        ("parquet.yaml", "wet|umbrellas|are|open"),
    ] {
        let data = load(&example(file), &model);
        assert_eq!(evidence(&data)[..1], [evidence_of_first], "{file}");
        assert_eq!(prompts(&data)[1].matches("Is it raining? Answer:").count(), 1, "{file}");
        assert!(data.counts.left_out().next().is_none(), "{file}");
    }
    assert_eq!(ids(&load(&example("json.yaml"), &model)), ["w1", "w2"], "keys are ids");
    assert_eq!(ids(&load(&example("parquet.yaml"), &model)), ["6402", "17", "1099511627776"]);
    let csv = load(&example("csv.yaml"), &model);
    assert_eq!(evidence(&csv), ["street|is|wet", "blue"]);
    assert!(prompts(&csv)[1].contains("The sky is \"blue\".\r\nNobody looks up."));
    let tsv = load(&example("tsv.yaml"), &model);
    assert_eq!(ids(&tsv), ["1", "2", "3"], "no header: line numbers from the first");
    assert!(prompts(&tsv)[1].starts_with("<s>\" no cloud in sight Is it"), "{:?}", prompts(&tsv)[1]);
}

#[test]
fn json_is_a_list_or_an_object() {
    let model = Model::bytes();
    let task = "data: {file: d.json}\nprompt: \"{w}\"\nanswer: \" Yes\"\n";
    let list =
        Written::new(task, &[("d.json", b"\xEF\xBB\xBF[{\"w\": \"a\"},\n\n {\"w\": \"b\"}]")]).load(&model).unwrap();
    assert_eq!(ids(&list), ["1", "3"], "lines");
    let said = |content: &[u8]| Written::new(task, &[("d.json", content)]).said(&model);
    for (content, expected) in [
        (
            &b"[{\"w\": \"a\"},\n {\"w\": \"b\"]"[..],
            "d.json:2:11 this file is not a list of records or an object of them: expected `,` or `}`",
        ),
        (
            b"[{\"w\": \"a\"}, 7]",
            "d.json:1:14 this record is not a JSON object: invalid type: integer `7`, expected a JSON object",
        ),
        (b"{\"a\": {\"w\": \"x\"},\n \"a\": {\"w\": \"y\"}}", "d.json:2:7 the id `a` is already that of line 1"),
        (
            b"7",
            "d.json:1:1 this file is not a list of records or an object of them: invalid type: integer `7`, expected a list or an object",
        ),
        (b"[{\"w\":\n\"\xff\"}]", "d.json:2:2 this is not UTF-8 text"),
        (b"[]", "t.yaml:1:14 `d.json` holds no records"),
        (b"[{\"v\": 1}]", "t.yaml:2:10 the data have no field `w`"),
    ] {
        assert_eq!(said(content), [expected]);
    }
}

#[test]
fn columns_and_quotes() {
    let model = Model::bytes();
    let said = |data: &str, content: &[u8]| {
        let task = format!("data: {{{data}}}\nprompt: \"{{w}}\"\nanswer: \" Yes\"\n");
        let name = if data.contains("d.csv") { "d.csv" } else { "d.tsv" };
        let written = Written::new(&task, &[(name, content)]);
        match written.load(&model) {
            Ok(data) => prompts(&data),
            Err(_) => written.said(&model),
        }
    };
    assert_eq!(said("file: d.tsv", b"w\tx\n\"a\tb\n"), ["<s>\"a"], "no quotes in TSV");
    assert_eq!(said("file: d.tsv, quotes: csv", b"w\tx\n\"a\tb\"\tc\n"), ["<s>a\tb"]);
    assert_eq!(said("file: d.csv, quotes: none", b"w,x\n\"a\",b\n"), ["<s>\"a\""]);
    assert_eq!(said("file: d.csv, columns: [w, x]", b"a,b\n"), ["<s>a"]);
    assert_eq!(
        said("file: d.csv, columns: [w, x]", b"a,b\na\n"),
        ["d.csv:2:1 fields in this record: 1, in `columns`: 2"]
    );
    assert_eq!(
        said("file: d.csv, columns: [w, w]", b"a,b\n"),
        ["t.yaml:1:34 the column `w` is already named in line 1"]
    );
    assert_eq!(
        said("file: d.tsv, documents: x", b"w\na\n"),
        ["t.yaml:1:32 `documents` says nothing of a tsv file, only of `eraser`, `scifact`"]
    );
}

#[test]
fn parquet_in_every_compression() {
    let model = Model::bytes();
    let task = "data: {file: d.parquet, id: id}\nprompt: \"{text}\"\ncontext: text\nevidence: evidence\nanswer: \"{rain}\"\n\
                options: {true: \" Yes\", false: \" No\"}\n";
    let bytes = |name: &str| std::fs::read(root().join(format!("tests/fixtures/tasks/{name}.parquet"))).unwrap();
    for compression in ["none", "zstd", "gzip"] {
        let data = Written::new(task, &[("d.parquet", &bytes(compression))]).load(&model).unwrap();
        assert_eq!(evidence(&data), ["wet|umbrellas|are|open", "The|sky|is|blue", ""], "{compression}");
        assert_eq!(data.counts.without_evidence, 1);
    }
    let said = |content: &[u8]| Written::new(task, &[("d.parquet", content)]).said(&model).join("\n");
    assert!(said(&bytes("brotli")).contains("brotli"), "{}", said(&bytes("brotli")));
    let whole = bytes("none");
    let cut = said(&whole[..whole.len() - 20]);
    assert!(cut.starts_with("d.parquet row 1: this Parquet file cannot be read"), "{cut}");
    assert!(said(b"id,text\n").ends_with("this is no Parquet file: it does not begin with PAR1"));
    let field = task.replace("{text}", "{txet}").replace("context: text\nevidence: evidence\n", "");
    let said = Written::new(&field, &[("d.parquet", &whole)]).load(&model).unwrap_err();
    assert!(said.contains("the data have no field `txet`") && said.contains("did you mean `text`?"), "{said}");
    let twice = Written::new(&task.replace("id: id", "id: rain"), &[("d.parquet", &whole)]).said(&model);
    assert_eq!(twice, ["d.parquet (rain) row 3: the id `false` is already that of row 2"]);
}

#[test]
fn files_that_are_something_else() {
    let model = Model::bytes();
    let task = "data: {file: d.jsonl}\nprompt: \"{w}\"\nanswer: \" Yes\"\n";
    for (content, expected) in [
        (&b"\xff\xfe{\0\"\0"[..], "d.jsonl this is UTF-16 text; save it as UTF-8"),
        (b"\x1f\x8b\x08\0", "d.jsonl this file is compressed (gzip); decompress it first"),
        (b"PK\x03\x04..", "d.jsonl this file is an archive (zip); take the data file out of it first"),
        (b"PAR1....PAR1", "d.jsonl this is a Parquet file; say `format: parquet` in `data`"),
        (b"{\"w\": \"caf\xe9\"}\n", "d.jsonl:1:11 this is not UTF-8 text"),
    ] {
        assert_eq!(Written::new(task, &[("d.jsonl", content)]).said(&model), [expected]);
    }
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n";
    let said = Written::new(task, &[("d.jsonl", pointer)]).said(&model);
    assert!(said[0].contains("git lfs pull"), "{said:?}");
}

#[test]
fn eraser_folders() {
    let model = Model::bytes();
    let data = load(&example("eraser.yaml"), &model);
    assert_eq!(ids(&data), ["7", "pond.txt", "both"]);
    // Blank lines and double spaces do not count, brackets are written, every group is read.
    let first = &prompts(&data)[0];
    let context = "Old Mill ( farm ) stands by the river .\nIt grinds no corn any more .\nThe wheel\tand stopped for good in 1901 .\n";
    assert!(first.starts_with(&format!("<s>{context}The mill")), "{first}");
    assert_eq!(evidence(&data)[0], "It|grinds|no|corn|stopped|for|good");
    // No document is named: the one that is called like the record. Line ends are those of Windows.
    assert!(prompts(&data)[1].starts_with("<s>The pond is shallow ;\nducks stand in it .\n"));
    assert_eq!(evidence(&data)[1], "");
    // Evidence in a document that is not listed.
    assert!(prompts(&data)[2].contains("in it .\nOld Mill ( farm )"), "{}", prompts(&data)[2]);
    assert_eq!(evidence(&data)[2], "is|shallow|Old|Mill");

    let lines = load(&example("eraser_lines.yaml"), &model);
    assert_eq!(evidence(&lines), ["far|too|no|end", "pure|joy"]);
    assert!(prompts(&lines)[1].starts_with("<s>a pure joy from"));
}

const ERASER: &str = "data: {file: val.jsonl, format: eraser}\nprompt: \"{context}\"\ncontext: context\nevidence: evidence\n\
                      answer: \"{classification}\"\noptions: {P: \" Yes\", N: \" No\"}\n";

fn eraser(id: &str, docids: &str, evidences: &str) -> String {
    format!(
        "{{\"annotation_id\": \"{id}\", \"classification\": \"P\", \"docids\": {docids}, \"evidences\": {evidences}, \"query\": \"q\"}}\n"
    )
}

fn span(docid: &str, start: i64, end: i64, text: &str) -> String {
    format!("{{\"docid\": \"{docid}\", \"start_token\": {start}, \"end_token\": {end}, \"text\": \"{text}\"}}")
}

#[test]
fn eraser_records_that_contradict_their_documents() {
    let model = Model::bytes();
    let rows = [
        eraser("moved", "[\"a\"]", &format!("[[{}]]", span("a", 3, 5, "two three"))),
        eraser("twice", "[\"a\"]", &format!("[[{}]]", span("a", 0, 1, "six"))),
        eraser("beyond", "[\"a\"]", &format!("[[{}]]", span("a", 5, 99, "nine ten"))),
        eraser("untold", "[\"a\"]", "[[{\"docid\": \"a\", \"start_token\": 4, \"end_token\": 4}]]"),
        eraser("absent", "[\"a\", \"b\"]", "[]"),
        eraser("evidence-absent", "[\"a\"]", &format!("[[{}]]", span("c", 0, 1, "one"))),
        eraser("out", "[\"../t.yaml\"]", "[]"),
        eraser("none", "null", "[]"),
        eraser("empty", "[\"blank\"]", "[]"),
        eraser("bytes", "[\"latin\"]", "[]"),
        "{\"annotation_id\": 1, \"classification\": \"P\", \"docids\": \"a\", \"query\": \"q\"}\n".to_owned(),
        eraser("whole", "[\"a\"]", "[]"),
    ];
    let files: &[(&str, &[u8])] = &[
        ("val.jsonl", &rows.concat().into_bytes()),
        ("docs/a", b"one two three\n\nfour five  six six"),
        ("docs/blank", b" \n"),
        ("docs/latin", b"caf\xe9"),
    ];
    let said = Written::new(ERASER, files).said(&model);
    insta::assert_snapshot!(said.join("\n"));

    // Left out only if the task says so, and counted.
    let data = Written::new(&ERASER.replace("format: eraser", "format: eraser, bad_rows: leave_out"), files);
    let data = data.load(&model).unwrap();
    assert_eq!(ids(&data), ["moved", "whole"]);
    assert_eq!(evidence(&data), ["two|three", ""], "taken where the text stands");
    let left_out: Vec<(String, usize)> = data.counts.left_out().collect();
    assert_eq!(
        left_out,
        [
            ("bad record: a document is not there".to_owned(), 5),
            ("bad record: evidence is not where it is said to be".to_owned(), 3),
            ("bad record: the context is empty".to_owned(), 1),
            ("bad record: the record cannot be read".to_owned(), 1),
        ]
    );
    assert_eq!((data.counts.records, data.counts.available), (12, 2));
}

#[test]
fn eraser_documents_that_cannot_be_told_apart() {
    let model = Model::bytes();
    let row = eraser("r", "[\"r\"]", "[]");
    let docs = b"{\"docid\": \"r\", \"document\": \"one\"}\n{\"docid\": \"r\", \"document\": \"two\"}\n{\"document\": \"x\"}\n{\n";
    let said = Written::new(ERASER, &[("val.jsonl", row.as_bytes()), ("docs.jsonl", docs)]).said(&model);
    assert_eq!(
        said,
        [
            "docs.jsonl:2:1 the document `r` is already that of line 1",
            "docs.jsonl:3:1 this document has no id in `docid`",
            "docs.jsonl:4:1 this line is not a JSON object: EOF while parsing an object",
        ]
    );
    let both: &[(&str, &[u8])] = &[("val.jsonl", row.as_bytes()), ("docs.jsonl", b""), ("docs/r", b"one")];
    assert_eq!(
        Written::new(ERASER, both).said(&model),
        ["t.yaml:1:14 both of `docs`, `docs.jsonl` are beside `val.jsonl`"]
    );
    let named = ERASER.replace("format: eraser", "format: eraser, documents: docs");
    assert_eq!(ids(&Written::new(&named, both).load(&model).unwrap()), ["r"]);
    let none = Written::new(ERASER, &[("val.jsonl", row.as_bytes())]).said(&model);
    assert_eq!(none, ["t.yaml:1:14 none of `docs`, `docs.jsonl` is beside `val.jsonl`"]);
    // A document that changes is noticed as the data are.
    let written = Written::new(&named, both);
    let plan = written.plan().unwrap();
    std::fs::write(written.0.path().join("docs/r"), "other").unwrap();
    assert!(matches!(model.load(&plan), Err(TaskError::Changed { .. })));
}

#[test]
fn hatexplain_labels_and_rationales() {
    let model = Model::bytes();
    let data = load(&example("hatexplain.yaml"), &model);
    assert_eq!(ids(&data), ["1_post", "2_post", "4_post"]);
    // Of three rationales two; of two both.
    assert_eq!(evidence(&data), ["gnomes|are", "", "dull"]);
    assert!(prompts(&data)[0].starts_with("<s><user> your garden gnomes are na"));
    let left_out: Vec<(String, usize)> = data.counts.left_out().collect();
    let expected = [("no label has a majority of the annotators", 1), ("of another split", 1)];
    assert_eq!(left_out, expected.map(|(why, count)| (why.to_owned(), count)));

    let read = |more: &str, posts: &str| {
        let task = format!(
            "data: {{file: dataset.json, format: hatexplain{more}}}\nprompt: \"{{text}}\"\ncontext: text\nevidence: evidence\n\
             answer: \"{{label}}\"\noptions: {{offensive: \" Yes\", normal: \" No\"}}\n"
        );
        Written::new(&task, &[("dataset.json", posts.as_bytes()), ("post_id_divisions.json", b"{\"test\": [\"a\"]}")])
    };
    let post = |rationales: &str| {
        let vote = "{\"label\": \"offensive\", \"annotator_id\": 1, \"target\": []}";
        format!(
            "{{\"a\": {{\"annotators\": [{vote}, {vote}], \"rationales\": {rationales}, \"post_tokens\": [\"x\", \"y\", \"z\"]}}}}"
        )
    };
    for (consensus, expected) in [("majority", "z"), ("any", "x|z"), ("all", "z")] {
        let found = read(&format!(", consensus: {consensus}"), &post("[[1, 0, 1], [0, 0, 1]]")).load(&model).unwrap();
        assert_eq!(evidence(&found), [expected], "{consensus}");
    }
    // An annotator who marked nothing gave no rationale.
    assert_eq!(evidence(&read("", &post("[[1, 0, 0], [0, 0, 0], [-1, -1, -1]]")).load(&model).unwrap()), ["x"]);
    for (rationales, expected) in [
        ("[[1, 0]]", "dataset.json:1:7 rationale 1 has 2 marks, and the post 3 tokens"),
        ("[[1, 0, 0], [1, 0, 0, 0]]", "dataset.json:1:7 rationale 2 has 4 marks, and the post 3 tokens"),
        ("[[1, 0, 2]]", "dataset.json:1:7 rationale 1 has the mark 2; 0 and 1 are known"),
    ] {
        assert_eq!(read("", &post(rationales)).said(&model), [expected]);
    }
    let said = read(", split: tset", &post("[]")).load(&model).unwrap_err();
    assert!(said.contains("has no split `tset`") && said.contains("did you mean `test`?"), "{said}");
    let said = read("", "{\"a\": {\"post_tokens\": []}}").said(&model);
    assert_eq!(said, ["dataset.json:1:7 this is no post of HateXplain: missing field `annotators`"]);
}

#[test]
fn scifact_claims_and_corpus() {
    let model = Model::bytes();
    let data = load(&example("scifact.yaml"), &model);
    // Ids are texts in the claims and numbers in the corpus; every group is read.
    assert_eq!(ids(&data), ["1/31", "1/32"]);
    assert_eq!(
        evidence(&data),
        ["We|watched|40|ducks.|Most|stood|in|water|of|20|cm.", "They|were|found|in|deep|ponds|only."]
    );
    assert_ne!(data.examples[0].target, data.examples[1].target);
    assert!(
        prompts(&data)[0].starts_with(
            "<s>Ducks and ponds\nWe watched 40 ducks. It rained. Most stood in water of 20 cm.\nIs it so?"
        )
    );

    let read = |claims: &str| {
        let task = "data: {file: claims.jsonl, format: scifact}\nprompt: \"{context}\"\ncontext: context\nevidence: evidence\n\
                    answer: \"{label}\"\noptions: {SUPPORT: \" Yes\", NOT_ENOUGH_INFO: \" No\"}\n";
        let corpus: &[u8] = b"{\"doc_id\": 5, \"title\": \"t\", \"abstract\": [\"one.\", \"two.\"]}\n{\"doc_id\": 6, \"title\": \"t\"}\n";
        Written::new(task, &[("claims.jsonl", claims.as_bytes()), ("corpus.jsonl", corpus)])
    };
    let claim = |id: i32, evidence: &str, cited: &str| {
        format!("{{\"id\": {id}, \"claim\": \"c\", \"evidence\": {evidence}, \"cited_doc_ids\": {cited}}}\n")
    };
    let undecided = read(&claim(1, "{}", "[5]")).load(&model).unwrap();
    assert_eq!((ids(&undecided), evidence(&undecided)), (vec!["1/5"], vec![String::new()]));
    let said = read(
        &[
            claim(1, "{\"5\": [{\"sentences\": [2], \"label\": \"SUPPORT\"}]}", "[5]"),
            claim(2, "{\"7\": [{\"sentences\": [0], \"label\": \"SUPPORT\"}]}", "[7]"),
            claim(3, "{\"5\": [{\"sentences\": [0], \"label\": \"SUPPORT\"}, {\"sentences\": [1], \"label\": \"CONTRADICT\"}]}", "[5]"),
            claim(4, "{}", "[6]"),
            "{\"id\": 5, \"claim\": \"c\", \"cited_doc_ids\": [5]}\n".to_owned(),
            claim(1, "{}", "[5]"),
            claim(1, "{}", "[5]"),
        ]
        .concat(),
    )
    .said(&model);
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn tweets_and_their_selections() {
    let model = Model::bytes();
    let data = load(&example("tweets.yaml"), &model);
    // Ids that look like numbers stay as they are.
    assert_eq!(ids(&data), ["6402e14398", "0012345678", "cb774db0d1", "358bd9e861"]);
    assert_eq!(evidence(&data), ["good|day", "fears", "happily", "SAD|I|miss"]);
    assert_eq!(data.counts.ambiguous, 1);
    assert!(prompts(&data)[1].starts_with("<s>=sum of all fears"));
    let left_out: Vec<(String, usize)> = data.counts.left_out().collect();
    let expected = [("bad record: the context is empty", 1), ("not of the values that the task takes", 2)];
    assert_eq!(left_out, expected.map(|(why, count)| (why.to_owned(), count)));

    let task = "data: {file: d.csv}\nprompt: \"{text}\"\ncontext: text\nselection: sel\nanswer: \" Yes\"\n";
    let said = Written::new(task, &[("d.csv", b"text,sel\na b,c\n,\n")]).said(&model);
    assert_eq!(said, ["d.csv:2:1 `c` does not stand in the context", "d.csv:3:1 the context `text` is empty"]);
    let both = task.replace("selection: sel", "selection: sel\nevidence: sel");
    let said = Written::new(&both, &[("d.csv", b"text,sel\na b,c\n")]).load(&model).unwrap_err();
    assert!(said.contains("`selection` stands beside the `evidence` of line 5"), "{said}");
}

#[test]
fn ids_of_several_fields() {
    let model = Model::bytes();
    // As in a form of SciFact whose `annotation_id` restarts with every claim.
    let rows =
        b"{\"claim\": 1, \"annotation_id\": 0, \"w\": \"a\"}\n{\"claim\": 2, \"annotation_id\": 0, \"w\": \"b\"}\n";
    let read = |id: &str| {
        let task = format!("data: {{file: d.jsonl, id: {id}}}\nprompt: \"{{w}}\"\nanswer: \" Yes\"\n");
        Written::new(&task, &[("d.jsonl", rows)])
    };
    assert_eq!(ids(&read("\"{claim}/{annotation_id}\"").load(&model).unwrap()), ["1/0", "2/0"]);
    assert_eq!(read("annotation_id").said(&model), ["d.jsonl:2:31 the id `0` is already that of line 1"]);
    let said = read("\"{claim}/{annotatoin_id}\"").said(&model);
    assert_eq!(said, ["t.yaml:1:36 the data have no field `annotatoin_id`"]);
}

#[test]
fn filters_take_what_they_name() {
    let model = Model::bytes();
    let rows = b"{\"w\": \"a\", \"n\": 1}\n{\"w\": \"b\", \"n\": \"2\"}\n{\"w\": \"c\", \"n\": true}\n{\"w\": \"d\", \"n\": null}\n";
    let read = |filter: &str| {
        let task = format!("data: {{file: d.jsonl, where: {filter}}}\nprompt: \"{{w}}\"\nanswer: \" Yes\"\n");
        Written::new(&task, &[("d.jsonl", rows)])
    };
    let found = |filter: &str| prompts(&read(filter).load(&model).unwrap()).join("");
    assert_eq!(found("{n: 1}"), "<s>a");
    assert_eq!(found("{n: [1, 2, true]}"), "<s>a<s>b<s>c");
    assert_eq!(found("{n: [1, 2], w: [b, c]}"), "<s>b");
    assert_eq!(read("{m: 1}").said(&model), ["t.yaml:1:31 the data have no field `m`"]);
    let said = read("{n: 7}").load(&model).unwrap_err();
    assert!(said.contains("none of the 4 records of `d.jsonl` can be used"), "{said}");
    assert!(said.contains("4: not of the values that the task takes"), "{said}");
    assert!(read("{n: {a: 1}}").load(&model).unwrap_err().contains("expected text, found a mapping"));
}

#[test]
fn a_file_that_ends_in_the_middle_is_no_bad_row() {
    let model = Model::bytes();
    let task = "data: {file: d.csv, bad_rows: leave_out}\nprompt: \"{w}\"\nanswer: \" Yes\"\n";
    let long = [b"w\na\n\"".as_slice(), &vec![b'x'; 18 << 20]].concat();
    let said = Written::new(task, &[("d.csv", &long)]).said(&model);
    assert_eq!(said, ["d.csv:3:1 this record is longer than 16 MiB: is a quote left open?"]);
}
