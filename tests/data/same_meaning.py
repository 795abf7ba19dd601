# Checks that PyYAML reads YAML as an expected value. Each line of stdin is a case in JSON:
# {"yaml": text, "expected": value}, or {"yaml": text, "expected_yaml": text}, whose value is
# that of the second text. Prints "same" or the difference, one line for each case.
import json
import sys

import yaml


def without_lone_surrogates(value):
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)
    if isinstance(value, list):
        return [without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {without_lone_surrogates(k): without_lone_surrogates(v) for k, v in value.items()}
    return value


for line in sys.stdin:
    case = json.loads(line)
    if "expected_yaml" in case:
        expected = yaml.safe_load(case["expected_yaml"])
    else:
        expected = case["expected"]
    try:
        value = yaml.safe_load(case["yaml"])
    except Exception as error:
        value = error
    # `repr` distinguishes 1, 1.0 and True, which are equal.
    same = repr(value) == repr(without_lone_surrogates(expected))
    print("same" if same else "YAML %r was read as %r" % (case["yaml"], value), flush=True)
