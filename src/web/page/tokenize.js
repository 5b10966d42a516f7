// Text to token ids by a tokenizer.json, as Rust's `tokenizers` does it; what `@huggingface/tokenizers` does otherwise is put
// right here, and the page checks the rest against ids that `tokenizers` gave.

// `\w` and `\s` as Rust's expressions have them; the library's are JavaScript's, which know no letters but ASCII's.
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
const WORDS = { type: "Split", pattern: { Regex: `[${WORD}]+|[^${WORD}\\p{White_Space}]+` }, behavior: "Removed", invert: true };

// All parts of a normalizer or pre-tokenizer, whether or not it is a sequence of some.
const parts = (all) => (all?.type === "Sequence" ? (all.normalizers ?? all.pretokenizers).flatMap(parts) : all ? [all] : []);

function splitting(all) {
  if (all?.type === "Sequence") return { ...all, pretokenizers: all.pretokenizers.map(splitting) };
  return all?.type === "Whitespace" ? WORDS : all;
}

// A function from a text to its ids; `special`: with the tokens that the tokenizer puts around it.
export function tokenizer(Tokenizer, file) {
  const cut = new Tokenizer(
    { ...file, pre_tokenizer: splitting(file.pre_tokenizer), truncation: null, padding: null },
    { unk_token: file.model.unk_token },
  );
  const lowers = parts(file.normalizer).some(({ type, lowercase }) => type === "Lowercase" || (type === "BertNormalizer" && lowercase));
  return (text, special = true) => {
    // JavaScript makes a capital sigma at the end of a word another small letter than elsewhere; Rust's takes each by itself.
    const { ids } = cut.encode(lowers ? text.replaceAll("Σ", "σ") : text, { add_special_tokens: special });
    if (!ids.every(Number.isInteger)) throw new Error("a part of this text is in no token, and the tokenizer has none for that");
    return ids;
  };
}
