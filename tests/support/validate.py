"""Says of each document on standard input whether it fits a JSON Schema.

    validate.py SCHEMA     a JSON document a line in; "true" or a sentence, as JSON, a line out
"""

import json
import sys

from jsonschema import Draft202012Validator

with open(sys.argv[1]) as file:
    schema = json.load(file)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for line in sys.stdin:
    error = next(validator.iter_errors(json.loads(line)), None)
    print(json.dumps(True if error is None else f"{error.json_path}: {error.message}"[:300]))
