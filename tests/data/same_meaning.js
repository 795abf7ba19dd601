// The same as same_meaning.py for js-yaml, without `expected_yaml`.
const readline = require("readline");
const { isDeepStrictEqual } = require("util");
const yaml = require("js-yaml");

// Without lone surrogates. -0 is an integer in YAML, and integers have no -0.
function normalized(value) {
  if (typeof value === "string") return value.toWellFormed();
  if (value === 0) return 0;
  if (Array.isArray(value)) return value.map(normalized);
  if (value === null || typeof value !== "object") return value;
  const members = Object.entries(value);
  return Object.fromEntries(members.map(([key, member]) => [normalized(key), normalized(member)]));
}

function expected(value) {
  return "expected_json" in value ? JSON.parse(value.expected_json) : value.expected;
}

function read(text) {
  try {
    // By default, js-yaml reads 100 levels.
    return normalized(yaml.load(text, { maxDepth: 1000 }));
  } catch (error) {
    return error;
  }
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const value = JSON.parse(line);
  const found = read(value.yaml);
  const same = isDeepStrictEqual(found, normalized(expected(value)));
  console.log(same ? "same" : `YAML ${JSON.stringify(value.yaml)} was read as ${JSON.stringify(String(found.message ?? JSON.stringify(found)))}`);
});
