"""Files of Milvus Lite, written by its real servers, and what those answer about them.

  lite.py make ENGINE INSTALL DIR    writes DIR/killed/ (a server that died while it wrote) and DIR/answers.json: what a
                                     server answers that is started on a copy of it. ENGINE: py (3.x) or cpp (2.x)
  lite.py parquet OUT ANSWERS        compares what `sink: parquet` wrote
  lite.py milvus ADDRESS ANSWERS NAMES PREFIX   compares collections of a Milvus 2.3.5, called PREFIX_NAME
"""
import json, os, shutil, struct, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))


def lite(*arguments):
    said = subprocess.run([sys.executable, os.path.join(HERE, "milvus-lite"), *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return dict(pair.split("=", 1) for pair in said.stdout.split() if "=" in pair)


# ---- what is written

def client(uri):
    from pymilvus import MilvusClient
    return MilvusClient(uri)


def scalars():
    from pymilvus import DataType as D
    array = lambda of, **more: dict(datatype=D.ARRAY, element_type=of, max_capacity=8, **more)
    return {
        "b": dict(datatype=D.BOOL), "i8": dict(datatype=D.INT8), "i16": dict(datatype=D.INT16), "i32": dict(datatype=D.INT32),
        "i64": dict(datatype=D.INT64), "f": dict(datatype=D.FLOAT), "d": dict(datatype=D.DOUBLE),
        "s": dict(datatype=D.VARCHAR, max_length=100), "j": dict(datatype=D.JSON),
        "ab": array(D.BOOL), "ai8": array(D.INT8), "ai16": array(D.INT16), "ai32": array(D.INT32), "ai64": array(D.INT64), "af": array(D.FLOAT), "ad": array(D.DOUBLE),
        "at": array(D.VARCHAR, max_length=40),
    }


def values(i):
    count = i % 4
    return {
        "b": i % 3 == 0, "i8": i % 256 - 128, "i16": -7 * i, "i32": i * 100_003 - 2**31, "i64": (-1) ** i * i * 2**40, "f": i / 3, "d": i / 7,
        "s": f"é \"{i}\" \\ '\n", "j": {"a": i, "list": [1, {"ü": None}], "large": 2**53 + i, "d": 1.5e300},
        "ab": [True, False, True][:count], "ai8": [-128, 0, 127][:count], "ai16": [-(2**15), i, 2**15 - 1][:count],
        "ai32": [-(2**31), i, 2**31 - 1][:count], "ai64": [-(2**63), i, 2**63 - 1][:count],
        "af": [0.1, -1.5, i / 3][:count], "ad": [0.1, -1.5, i / 3][:count], "at": ["", "x", "é" * 9][:count],
    }


def vector(i, dim=4):
    return [i + 0.25, -1 / (i + 1), 0.0, 1e-30][:dim]


def create(c, name, fields, dynamic=False, functions=(), description="", auto_id=False, indexes=(), **more):
    from pymilvus import DataType as D, MilvusClient
    schema = MilvusClient.create_schema(auto_id=auto_id, enable_dynamic_field=dynamic, description=description)
    for field, about in fields.items():
        schema.add_field(field_name=field, **about)
    for function in functions:
        schema.add_function(function)
    c.create_collection(name, schema=schema, **more)
    if indexes:
        params = c.prepare_index_params()
        for index in indexes:
            params.add_index(**index)
        c.create_index(name, params)


def write(c, engine):
    from pymilvus import DataType as D, Function, FunctionType
    key = dict(id=dict(datatype=D.INT64, is_primary=True))
    floats = dict(v=dict(datatype=D.FLOAT_VECTOR, dim=4))
    flat = [dict(field_name="v", index_type="FLAT", metric_type="COSINE")]
    row = lambda i, /, **more: dict(id=i, v=vector(i), **more)
    create(c, "typed", key | floats | scalars(), dynamic=True, description="of every type", indexes=flat)
    typed = lambda i, /, **more: row(i, **values(i), **more)
    c.insert("typed", [typed(i, extra=i, deep={"x": [i]}) if i % 5 else typed(i) for i in range(120)])
    create(c, "texts", dict(id=dict(datatype=D.VARCHAR, is_primary=True, max_length=60)) | floats, dynamic=True)
    # Milvus Lite itself stumbles over quotes in keys that it is to delete.
    named = lambda i: f"k'\"ü{i}" if 40 <= i < 50 else f"kü {i}"
    text = lambda i, /, **more: dict(row(i, **more), id=named(i))
    c.insert("texts", [text(i) for i in range(50)])
    create(c, "keyed", key | floats | dict(owner=dict(datatype=D.VARCHAR, max_length=20, is_partition_key=True)))
    c.insert("keyed", [row(i, owner=f"o{i % 7}") for i in range(60)])
    create(c, "made", key | floats, auto_id=True)
    c.insert("made", [dict(v=vector(i)) for i in range(20)])
    create(c, "several", key | floats | dict(w=dict(datatype=D.FLOAT_VECTOR, dim=3), s=dict(datatype=D.SPARSE_FLOAT_VECTOR)))
    c.insert("several", [row(i, w=vector(i, 3), s={i: 0.5, 70_000 + i: 2.0}) for i in range(30)])
    create(c, "nothing", key | floats)
    create(c, "twice", key | floats)
    c.insert("twice", [row(i) for i in range(10)])
    c.insert("twice", [dict(id=i, v=vector(900 + i)) for i in (3, 4, 3)])
    create(c, "words", key | dict(t=dict(datatype=D.VARCHAR, max_length=200, enable_analyzer=True), sp=dict(datatype=D.SPARSE_FLOAT_VECTOR)),
           functions=[Function(name="bm", function_type=FunctionType.BM25, input_field_names=["t"], output_field_names=["sp"])])
    c.insert("words", [dict(id=i, t=f"hello world {i}") for i in range(10)])
    if engine == "cpp":
        import numpy as np
        kinds = {"half": (D.FLOAT16_VECTOR, lambda i: np.arange(8).astype("f2") / (i + 1)),
                 "brain": (D.BFLOAT16_VECTOR, lambda i: bytes(range(i, i + 16))),
                 "bits": (D.BINARY_VECTOR, lambda i: bytes([i * 37 % 256]))}
        for name, (kind, value) in kinds.items():
            create(c, name, key | dict(v=dict(datatype=kind, dim=8)))
            c.insert(name, [dict(id=i, v=value(i)) for i in range(12)])
    else:
        about = scalars()
        nullable = {name: field | dict(nullable=True) for name, field in about.items()}
        nullable |= dict(g=dict(datatype=D.GEOMETRY, nullable=True), t=dict(datatype=D.TIMESTAMPTZ, nullable=True))
        create(c, "nulls", key | floats | nullable)
        def holed(i):
            all = values(i) | dict(g=f"POINT ({i} 2)", t=f"2025-01-{i % 28 + 1:02}T10:20:30.25+02:00")
            return {name: value for n, (name, value) in enumerate(all.items()) if (n + i) % 3}
        c.insert("nulls", [row(i, **holed(i)) for i in range(40)])
        default = lambda kind, value, **more: dict(datatype=kind, default_value=value, **more)
        create(c, "defaults", key | floats | dict(i=default(D.INT32, 7), s=default(D.VARCHAR, "dé", max_length=20), d=default(D.DOUBLE, 1.5), b=default(D.BOOL, True)))
        c.insert("defaults", [row(i, **({} if i % 2 else dict(i=i, s="x", d=2.0, b=False))) for i in range(10)])
        create(c, "parts", key | floats)
        for partition in ("p1", "p2", "empty"):
            c.create_partition("parts", partition)
        c.insert("parts", [row(i) for i in range(10)])
        c.insert("parts", [dict(id=i, v=vector(500 + i)) for i in range(5, 15)], partition_name="p1")
        c.insert("parts", [row(100 + i) for i in range(10)], partition_name="p2")
        for name in c.list_collections():
            c.flush(name)
        # And from here on nothing is flushed but what says so.
        c.insert("parts", [dict(id=i, v=vector(700 + i)) for i in (0, 101, 200)], partition_name="p1")
        c.delete("parts", ids=[6, 105])
        c.insert("nothing", [row(1)])
        c.delete("nothing", ids=[1])
        c.create_alias("several", "more")
    c.delete("typed", ids=[1, 2, 3])
    c.upsert("typed", [typed(i, extra="new") for i in (5, 6, 300)])
    c.delete("typed", filter="id > 100 and id < 110")
    if engine == "py":
        c.flush("typed")
    c.insert("typed", [typed(2, extra="back"), typed(301)])
    c.upsert("typed", [typed(6, extra="once more")])
    c.delete("typed", ids=[300, 40])
    c.delete("texts", ids=[named(4), named(9)])
    c.upsert("texts", [text(7, x=1), text(77)])
    if engine == "py":
        c.delete("keyed", ids=[11])
    create(c, "busy", key | floats | dict(t=dict(datatype=D.VARCHAR, max_length=3000)))


def busy(uri):
    """Writes until its server dies, and tells of each answer."""
    c, i = client(uri), 0
    while True:
        c.insert("busy", [dict(id=i * 40 + n, v=vector(n), t=str(i) * 700) for n in range(40)])
        c.delete("busy", ids=[i * 40, i * 20])
        print(i, flush=True)
        i += 1


def make(engine, install, home):
    os.environ["MILVUS_LITE_DIR"] = install
    kept = "lite.db" if engine == "cpp" else "lite"
    data = os.path.join(home, "served")
    uri = lite("start", "--data", data, "--engine", engine)["URI"]
    try:
        write(client(uri), engine)
        writer = subprocess.Popen([sys.executable, os.path.abspath(__file__), "busy", uri], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(12 if engine == "py" else 4):
            assert writer.stdout.readline(), "the writer ended"
    finally:
        lite("kill", "--data", data)
    writer.kill()
    writer.wait()
    for copy in ("killed", "asked"):
        os.mkdir(os.path.join(home, copy))
        for name in os.listdir(data):
            if name.startswith(kept):
                path = os.path.join(data, name)
                (shutil.copytree if os.path.isdir(path) else shutil.copy2)(path, os.path.join(home, copy, name))
        if engine == "py":
            # As a death in the middle of a write leaves it.
            wal = os.path.join(home, copy, kept, "collections", "busy", "wal")
            for name in os.listdir(wal):
                if name.startswith("wal_data"):
                    path = os.path.join(wal, name)
                    os.truncate(path, os.path.getsize(path) - 1000)
    shutil.rmtree(data)
    asked = os.path.join(home, "asked")
    uri = lite("start", "--data", asked, "--engine", engine)["URI"]
    try:
        answers = ask(client(uri), engine)
    finally:
        lite("kill", "--data", asked)
    with open(os.path.join(home, "answers.json"), "w") as file:
        json.dump(answers, file)


# ---- what is answered

def ask(c, engine):
    from pymilvus import DataType as D
    answers = {}
    for name in c.list_collections():
        fields = c.describe_collection(name)["fields"]
        key = next(f for f in fields if f.get("is_primary"))
        params = c.prepare_index_params()
        for field in fields:
            kind = {D.FLOAT_VECTOR: ("FLAT", "COSINE"), D.SPARSE_FLOAT_VECTOR: ("SPARSE_INVERTED_INDEX", "BM25" if name == "words" else "IP"),
                    D.BINARY_VECTOR: ("BIN_FLAT", "HAMMING"), D.FLOAT16_VECTOR: ("FLAT", "L2"), D.BFLOAT16_VECTOR: ("FLAT", "L2")}.get(field["type"])
            if kind and not (name == "typed"):
                params.add_index(field_name=field["name"], index_type=kind[0], metric_type=kind[1])
        if name != "typed":
            c.create_index(name, params)
        c.load_collection(name)
        if engine == "cpp" and name == "keyed":
            # Milvus Lite 2.5.1 keeps rows with a partition key, and refuses every query for them.
            single = lambda number: struct.unpack("<f", struct.pack("<f", number))[0]
            answers[name] = dict(rows=[dict(id=i, v=[single(x) for x in vector(i)], owner=f"o{i % 7}") for i in range(60)])
            continue
        column = "owner" if name == "keyed" else key["name"]
        least = {D.INT64: "-9223372036854775807", D.VARCHAR: "''"}[key["type"] if column == key["name"] else D.VARCHAR]
        filter = f"{column} >= {least}"
        rows = c.query(name, filter=filter, output_fields=["*"], limit=16000)
        skipped = {"sp"} if name == "words" else set()
        answers[name] = dict(rows=[{k: plain(v) for k, v in dict(row).items() if k not in skipped} for row in rows])
        if name == "parts":
            for row in answers[name]["rows"]:
                of = [p for p in c.list_partitions(name) if c.query(name, filter=f"id == {row['id']}", partition_names=[p], output_fields=["v"])
                      and plain(c.query(name, filter=f"id == {row['id']}", partition_names=[p], output_fields=["v"])[0]["v"]) == row["v"]]
                assert len(of) == 1, (row, of)
                row["partition"] = of[0]
    return answers


def plain(value):
    """A value as JSON, floats as they are, bytes in hex."""
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) or type(value).__name__ in ("RepeatedScalarContainer", "RepeatedScalarFieldContainer"):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def same(found, expected):
    """Whether two values are equal: half floats and bits come as bytes in a list from one side."""
    if isinstance(expected, list) and len(expected) == 1 and isinstance(expected[0], str) and isinstance(found, str):
        return found == expected[0]
    return found == expected


def compare(name, found, expected):
    """Rows by key; those without a value in a column may lack it altogether."""
    wrong = []
    by_key = {}
    for row in found:
        if row["id"] in by_key:
            wrong.append(f"{name}: {row['id']} is there twice")
        by_key[row["id"]] = row
    for row in expected:
        other = by_key.pop(row["id"], None)
        if other is None:
            wrong.append(f"{name}: {row['id']} is missing")
            continue
        for column in row.keys() | other.keys():
            if not same(other.get(column), row.get(column)):
                wrong.append(f"{name} {row['id']} {column}: {str(other.get(column))[:200]} is not {str(row.get(column))[:200]}")
    wrong += [f"{name}: {key} should not be there" for key in by_key]
    return wrong


# ---- what arrived

def of_parquet(directory):
    import datetime
    import pyarrow.parquet as pq
    with open(os.path.join(directory, "manifest.json")) as file:
        manifest = json.load(file)
    kinds = {column["name"]: column for column in manifest["columns"]}
    rows = []
    for file in manifest["files"]:
        for row in pq.read_table(os.path.join(directory, file["name"])).to_pylist():
            for name, value in list(row.items()):
                kind = kinds[name]["type"]
                if kind == "json" and value is not None:
                    row[name] = json.loads(value)
                if kind == "sparse_float_vector":
                    row[name] = {str(i): v for i, v in zip(value["indices"], value["values"])}
                if kind in ("float16_vector", "bfloat16_vector", "binary_vector"):
                    if kind == "float16_vector" and isinstance(value, list) and isinstance(value[0], float):
                        value = b"".join(struct.pack("<e", v) for v in value)
                    row[name] = bytes(value).hex()
                if isinstance(value, datetime.datetime):
                    row[name] = value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            row |= row.pop("$meta", {})
            if manifest["collection"] == "parts":
                row["partition"] = manifest["partition"] or "_default"
            rows.append(row)
    return manifest, rows


def parquet(out, answers):
    answers = json.load(open(answers))
    found = {}
    for directory, _, files in os.walk(out):
        if "manifest.json" in files:
            manifest, rows = of_parquet(directory)
            found.setdefault(manifest["collection"], []).extend(rows)
    wrong = [f"{name} should not be there" for name in found.keys() - answers.keys()]
    for name, answer in answers.items():
        if name not in found:
            wrong.append(f"{name} is missing")
        else:
            wrong += compare(name, found[name], answer["rows"])
    report(wrong, found)


def milvus(address, answers, names, prefix):
    from pymilvus import Collection, connections
    connections.connect(uri="http://" + address)
    answers = json.load(open(answers))
    wrong, found = [], {}
    for name in names.split(","):
        collection = Collection(f"{prefix}_{name}")
        key = collection.schema.primary_field
        least = "''" if key.dtype.name == "VARCHAR" else "-9223372036854775807"
        partitions = {}
        if name == "parts":
            for partition in collection.partitions:
                for row in collection.query(f"id >= {least}", output_fields=["id"], partition_names=[partition.name], limit=16000):
                    partitions[row["id"]] = partition.name
        rows = []
        for row in collection.query(f"id >= {least}", output_fields=["*"], limit=16000, consistency_level="Strong"):
            row = {k: plain(v) for k, v in row.items() if k != "$meta"}
            for field in collection.schema.fields:
                if field.dtype.name == "JSON" and isinstance(row.get(field.name), (str, bytes)):
                    row[field.name] = json.loads(row[field.name])
                if field.dtype.name == "ARRAY" and not isinstance(row.get(field.name), list):
                    row[field.name] = list(row[field.name] or [])
            if partitions:
                row["partition"] = partitions[row["id"]]
            rows.append(row)
        found[name] = rows
        wrong += compare(name, rows, answers[name]["rows"])
        wrong += schema(name, collection.schema, 65535 if prefix.endswith("py") else 40)
    report(wrong, found)


def schema(name, found, longest):
    """What is wrong with a schema, of collections that this script wrote. Milvus Lite 3.x forgets how long texts in arrays may be."""
    fields = {f.name: (f.dtype.name, f.params, f.is_partition_key) for f in found.fields}
    key = found.primary_field
    expected = {
        "typed": {"s": ("VARCHAR", {"max_length": 100}, False), "at": ("ARRAY", {"max_capacity": 8, "max_length": longest}, False),
                  "ai8": ("ARRAY", {"max_capacity": 8}, False), "ai32": ("ARRAY", {"max_capacity": 8}, False), "i8": ("INT8", {}, False), "j": ("JSON", {}, False),
                  "v": ("FLOAT_VECTOR", {"dim": 4}, False), "d": ("DOUBLE", {}, False), "b": ("BOOL", {}, False)},
        "texts": {"id": ("VARCHAR", {"max_length": 60}, False)},
        "keyed": {"owner": ("VARCHAR", {"max_length": 20}, True)},
    }.get(name, {})
    wrong = [f"{name}: {field} is {fields.get(field)}, not {about}" for field, about in expected.items() if fields.get(field) != about]
    if found.enable_dynamic_field != (name in ("typed", "texts")):
        wrong.append(f"{name}: dynamic is {found.enable_dynamic_field}")
    if key.name != "id":
        wrong.append(f"{name}: the key is {key.name}")
    return wrong


def report(wrong, found):
    if wrong:
        sys.exit("\n".join(wrong[:40]))
    print(json.dumps({name: len(rows) for name, rows in found.items()}))


if __name__ == "__main__":
    {"make": make, "busy": busy, "parquet": parquet, "milvus": milvus}[sys.argv[1]](*sys.argv[2:])
