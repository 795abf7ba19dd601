# Reads lines of JSON from stdin, each {"yaml": text, "means": value} or
# {"yaml": text, "means_yaml": text of the same meaning}, and tells for each
# whether PyYAML's safe_load makes that value of that text.
# `repr` tells 1 from 1.0 and from True, which `==` does not.
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
    means = yaml.safe_load(case["means_yaml"]) if "means_yaml" in case else case["means"]
    try:
        read = yaml.safe_load(case["yaml"])
    except Exception as error:
        read = error
    same = repr(read) == repr(without_lone_surrogates(means))
    print("same" if same else "YAML %r was read as %r" % (case["yaml"], read), flush=True)
