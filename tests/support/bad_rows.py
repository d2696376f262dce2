"""Parquet files that must not get into a server: three rows each, one of which, or a whole column, is bad.

    bad_rows.py make DIR            DIR/NAME.parquet; prints JSON: [{"name", "code", "says", "types", "columns", "id"}, …];
                                    the first is good, and makes the collection; the last is good again
    bad_rows.py watch ADDRESS       for each line, the name of a collection: how many rows it has, counted by the server
"""
import json
import sys

DIM = 8
COLUMNS = {
    "v": {"metric": "L2", "index": {"type": "FLAT"}},
    "words": {"type": "array<varchar>", "max_capacity": 2, "max_length": 8},
    "days": {"type": "array<int8>", "max_capacity": 2},
    "title": {"type": "varchar", "max_length": 4},
    "doc": "json", "tiny": "int8", "small": "int16", "number": "int32", "big": "int64",
    "single": "float", "double": "double", "flag": "bool",
}
# The second row is the bad one: by column, what stands there. Exit 3, and words of what is said.
VALUES = [
    ("text_too_long", "title", "12345", ["`title` has 5 bytes, but the field allows 4"]),
    ("text_too_long_in_bytes", "title", "üü1", ["`title` has 5 bytes"]),
    ("text_none", "title", None, ["`title` has no value"]),
    ("text_of_a_megabyte", "title", "x" * (1 << 20), ["`title` has 1048576 bytes"]),
    ("json_cut", "doc", '{"a": ', ["`doc`"]),
    ("json_empty", "doc", "", ["`doc`"]),
    ("json_two", "doc", "{} {}", ["`doc`"]),
    ("json_number_without_end", "doc", '{"a": 1e400}', ["`doc`"]),
    ("json_nan", "doc", '{"a": NaN}', ["`doc`"]),
    ("json_list", "doc", "[1]", ["`doc`", "not an object"]),
    ("json_scalar", "doc", "3", ["`doc`", "not an object"]),
    ("json_null", "doc", "null", ["`doc`", "not an object"]),
    ("json_none", "doc", None, ["`doc` has no value"]),
    ("json_too_long", "doc", json.dumps({"a": "x" * 65536}), ["`doc` has 65545 bytes"]),
    ("json_too_deep", "doc", "{\"a\":" + "[" * 5000 + "]" * 5000 + "}", ["`doc`"]),
    ("list_too_long", "words", ["a", "b", "c"], ["`words` is a list of 3, but the field allows 2"]),
    ("list_of_long_texts", "words", ["123456789"], ["`words` has 9 bytes"]),
    ("list_with_null", "words", ["a", None], ["words"]),
    ("list_none", "words", None, ["`words` has no value"]),
    ("list_of_wide", "days", [300], ["`days` is [300], which array<int8> cannot hold"]),
    ("tiny_above", "tiny", 128, ["`tiny` is 128, which int8 cannot hold"]),
    ("tiny_below", "tiny", -129, ["`tiny` is -129"]),
    ("small_above", "small", 32768, ["`small` is 32768"]),
    ("number_above", "number", 2**31, ["`number` is 2147483648"]),
    ("number_none", "number", None, ["`number` has no value"]),
    ("single_above", "single", 1e300, ["`single` is 1e300, which float cannot hold"]),
    ("flag_two", "flag", 2, ["`flag` is 2, which bool cannot hold"]),
    ("vector_nan", "v", [float("nan")] * DIM, ["NaN or infinity as component 0"]),
    ("vector_infinite", "v", [0.0] * (DIM - 1) + [float("-inf")], ["NaN or infinity as component 7"]),
    ("vector_short", "v", [0.0] * (DIM - 1), ["`v`", "array<float>"]),
    ("vector_none", "v", None, ["`v` has no value"]),
    ("vector_with_null", "v", [0.0] * (DIM - 1) + [None], ["row 1"]),
    ("key_none", "pk", None, ["pk"]),
    ("key_too_long", "pk", "k" * 65, ["`pk` has 65 bytes, but the field allows 64"]),
    ("dynamic_named_meta", "$meta", "x", ["its key `$meta`"]),
    ("dynamic_nan", "more", float("nan"), ["`more` is NaN, which JSON cannot hold"]),
    ("dynamic_too_long", "more", "x" * 65536, ["bytes, but the field allows 65536"]),
]


def make(directory):
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "pk": pa.string(), "v": pa.list_(pa.float32()), "words": pa.list_(pa.string()), "days": pa.list_(pa.int32()),
        "title": pa.string(), "doc": pa.string(), "tiny": pa.int32(), "small": pa.int32(), "number": pa.int64(),
        "big": pa.int64(), "single": pa.float64(), "double": pa.float64(), "flag": pa.int32(),
    }
    good = {
        "v": [[0.5] * DIM] * 3, "words": [["a"], [], ["b", "ü"]], "days": [[1], [], [2, 3]], "title": ["a", "", "ü"],
        "doc": ["{}", '{"a": 1}', "{}"], "tiny": [1] * 3, "small": [1] * 3, "number": [1] * 3, "big": [1] * 3,
        "single": [0.5] * 3, "double": [0.5] * 3, "flag": [0, 1, 1],
        # Has no field of its own: the collection gets a dynamic field.
        "extra": ["a", "b", None],
    }
    cases = []

    def case(name, code, says, change=lambda rows, types: None, **more):
        rows, kinds = {"pk": [f"{name} {row}" for row in range(3)], **{k: list(v) for k, v in good.items()}}, dict(types)
        change(rows, kinds)
        arrays = {key: pa.array(values, kinds.get(key)) for key, values in rows.items()}
        pq.write_table(pa.table(arrays), f"{directory}/{name}.parquet")
        columns = {key: value for key, value in COLUMNS.items() if key in rows}
        cases.append({"name": name, "code": code, "says": says, "types": {"doc": "json"} if "doc" in rows else {},
                      "columns": columns, "id": "pk", **more})

    def value(column, bad):
        def change(rows, types):
            rows.setdefault(column, [None] * 3)[1] = bad
        return change

    def column(name, values, kind=None):
        def change(rows, types):
            rows.pop(name, None)
            if values is not None:
                rows[name], types[name] = values, kind
        return change

    case("good", 0, [])
    for name, of, bad, says in VALUES:
        case(name, 3, says, value(of, bad))
    case("text_not_utf8", 3, ["UTF-8"], column("title", [b"a", b"\xff\xfe", b"b"], pa.binary()))
    case("json_not_utf8", 3, ["UTF-8"], column("doc", [b"{}", b'{"a": "\xff"}', b"{}"], pa.binary()))
    case("big_unsigned", 3, ["18446744073709551615"], column("big", [1, 2**64 - 1, 1], pa.uint64()))
    case("number_of_text", 3, ['`number` is "x1"'], column("number", ["1", "x1", "2"], pa.string()))
    case("keys_that_repeat", 3, ["same"], column("pk", ["same", "other", "same"], pa.string()))
    case("keys_of_numbers", 5, ["primary key"], column("pk", [1, 2, 3], pa.int64()))
    case("column_missing", 5, ["needs values that the source does not have", "number"], column("number", None))
    case("vectors_of_16", 5, ["v"], column("v", [[0.5] * 16] * 3, pa.list_(pa.float32())))
    case("two_vectors", 3, ["2 vectors"], column("w", [[0.5] * DIM] * 3, pa.list_(pa.float32())))
    pairs = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
    case("sparse_vectors", 3, ["vectors"], column("s", [{"indices": [1], "values": [0.5]}] * 3, pairs))
    case("structs", 3, ["`points`"], column("points", [[{"x": 1}]] * 3, pa.list_(pa.struct([("x", pa.int32())]))))
    case("maps", 3, ["`pairs`"], column("pairs", [[("a", 1)]] * 3, pa.map_(pa.string(), pa.int32())))
    case("shapes", 3, ["geometry"], column("shape", ["POINT (1 2)"] * 3, pa.string()), types={"doc": "json", "shape": "geometry"},
         columns={**COLUMNS, "shape": "geometry"})
    case("cut_short", 3, ["PAR1"])
    path = f"{directory}/cut_short.parquet"
    whole = open(path, "rb").read()
    open(path, "wb").write(whole[:-5])
    case("page_damaged", 3, ["page_damaged.parquet"])
    path = f"{directory}/page_damaged.parquet"
    start = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset
    whole = bytearray(open(path, "rb").read())
    whole[start:start + 16] = b"\xff" * 16
    open(path, "wb").write(whole)
    case("good_again", 0, [])
    print(json.dumps(cases))


def watch(address):
    from pymilvus import Collection, connections

    connections.connect(uri="http://" + address)
    for line in sys.stdin:
        found = Collection(line.strip()).query("", output_fields=["count(*)"], consistency_level="Strong")
        print(found[0]["count(*)"], flush=True)


{"make": make, "watch": watch}[sys.argv[1]](sys.argv[2])
