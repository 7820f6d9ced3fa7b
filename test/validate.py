#!/usr/bin/python3
"""validate.py [--lines] NAME: checks the JSON on stdin against share/schemas/NAME.json.

With --lines each line is a document of its own. Exit 0 valid, 1 not (each fault on a line of stderr).
"""
import json
import pathlib
import sys

import jsonschema

SCHEMAS = pathlib.Path(__file__).resolve().parent.parent / "share" / "schemas"


def main() -> int:
    arguments = sys.argv[1:]
    lines = arguments[:1] == ["--lines"]
    name = arguments[-1]
    path = SCHEMAS / f"{name}.json"
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(
        schema,
        resolver=jsonschema.RefResolver(path.as_uri(), schema),
        format_checker=jsonschema.FormatChecker(),
    )
    text = sys.stdin.read()
    documents = [line for line in text.splitlines() if line] if lines else [text]
    if not documents:
        print(f"{name}: nothing to check", file=sys.stderr)
        return 1
    faults = 0
    for document in documents:
        try:
            instance = json.loads(document)
        except ValueError as error:
            print(f"{name}: not JSON: {error}: {document[:200]}", file=sys.stderr)
            faults += 1
            continue
        for error in validator.iter_errors(instance):
            where = "/".join(str(step) for step in error.absolute_path)
            print(f"{name}: /{where}: {error.message}", file=sys.stderr)
            faults += 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
