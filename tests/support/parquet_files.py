"""Parquet files of every type, codec and writer, and what should be read from each.

    parquet_files.py DIR    writes the files, prints JSON: a list of {"name", "settings", "columns", "rows"} or of
                            {"name", "settings", "code", "says"}

Floating numbers are the hexadecimal bytes of a double, bytes are hexadecimal, moments are microseconds.
"""
import datetime, decimal, json, os, struct, sys, uuid
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

d = sys.argv[1]
cases = []
rng = np.random.default_rng(17)
N = 700
IDS = np.arange(N) * 3 - 50
F4 = rng.standard_normal((N, 12)).astype("<f4")
F4[3, 2], F4[4, 0], F4[5, 1] = -0.0, 1e-42, 3e38


def path(name):
    return os.path.join(d, name + ".parquet")


def plain(value):
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, (float, np.floating)):
        return struct.pack("<d", float(value)).hex()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return int(value)


def expect(name, columns, rows, settings=None):
    """Columns are (name, type); rows are lists of values, the key first."""
    known = {"name": name, "settings": settings or {"paths": [path(name)]}}
    known["columns"] = [f"{n} {t}" for n, t in columns]
    known["rows"] = [[plain(v) for v in row] for row in rows]
    cases.append(known)


def refuse(name, says, code=3, settings=None):
    cases.append({"name": name, "settings": settings or {"paths": [path(name)]}, "code": code, "says": says})


def vectors(x):
    return [row.tobytes() for row in x]


def lists(x, kind=None):
    return pa.array(list(x), type=kind or pa.list_(pa.float32()))


PLAIN = [("id", "int64 key"), ("embedding", "float32 × 12")]


def plain_rows(ids=IDS, x=F4):
    return list(zip(ids, vectors(x)))


def writers():
    table = pa.table({"id": pa.array(IDS), "embedding": lists(F4)})
    for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
        for version in ["1.0", "2.0"]:
            for dictionary in [True, False]:
                name = f"{codec}_{version}_{dictionary}"
                pq.write_table(table, path(name), compression=codec, data_page_version=version, use_dictionary=dictionary,
                               row_group_size=300, data_page_size=4096, write_statistics=dictionary, store_schema=dictionary)
                expect(name, PLAIN, plain_rows())
    pq.write_table(table, path("checksums"), write_page_checksum=True, compression="zstd")
    expect("checksums", PLAIN, plain_rows())
    pq.write_table(table, path("split"), column_encoding={"embedding.list.element": "BYTE_STREAM_SPLIT", "id": "DELTA_BINARY_PACKED"},
                   use_dictionary=False)
    expect("split", PLAIN, plain_rows())
    fixed = pa.table({"id": pa.array(IDS), "embedding": pa.FixedSizeListArray.from_arrays(pa.array(F4.ravel()), 12)})
    pq.write_table(fixed, path("fixed"))
    expect("fixed", PLAIN, plain_rows())
    pq.write_table(fixed.slice(0, 0), path("fixed_no_rows"))
    expect("fixed_no_rows", PLAIN, [])
    large = pa.table({"id": pa.array(IDS), "embedding": lists(F4, pa.large_list(pa.float32()))})
    pq.write_table(large, path("large"))
    expect("large", PLAIN, plain_rows())

    import pandas, polars, duckdb
    frame = pandas.DataFrame({"id": IDS, "embedding": list(F4)})
    frame.to_parquet(path("pandas"))
    expect("pandas", PLAIN, plain_rows())
    frame.to_parquet(path("pandas_gzip"), compression="gzip", engine="pyarrow")
    expect("pandas_gzip", PLAIN, plain_rows())
    for codec in ["uncompressed", "lz4", "zstd", "snappy", "gzip", "brotli"]:
        frame = polars.DataFrame({"id": IDS, "embedding": list(F4), "word": [f"w{i}" for i in range(N)]},
                                 schema={"id": polars.Int64, "embedding": polars.Array(polars.Float32, 12), "word": polars.String})
        frame.write_parquet(path("polars_" + codec), compression=codec, row_group_size=300)
        expect("polars_" + codec, PLAIN + [("word", "varchar")], [(i, v, f"w{n}") for n, (i, v) in enumerate(plain_rows())])
    base = duckdb.connect()
    base.execute("create table t as select * from frame")
    for codec in ["uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4_raw"]:
        base.execute(f"copy t to '{path('duckdb_' + codec)}' (format parquet, compression {codec}, row_group_size 2048)")
        expect("duckdb_" + codec, PLAIN + [("word", "varchar")], [(i, v, f"w{n}") for n, (i, v) in enumerate(plain_rows())])
    base.execute(f"copy t to '{path('duckdb_v2')}' (format parquet, parquet_version v2)")
    expect("duckdb_v2", PLAIN + [("word", "varchar")], [(i, v, f"w{n}") for n, (i, v) in enumerate(plain_rows())])


def one(name, kind, array, given, key=None, settings=None, **options):
    """A column `c` beside numbered rows, every other one without a value where `given` says so."""
    table = pa.table({"id": pa.array(range(len(given))), "c": array})
    pq.write_table(table, path(name), **options)
    rows = [(i, v) for i, v in enumerate(given)]
    null = " null" if any(v is None for v in given) or options.get("write_statistics") is False else ""
    expect(name, [("id", "int64 key"), ("c", kind + null)], rows, settings)


def types():
    for bits in [8, 16, 32, 64]:
        for sign in ["", "u"]:
            info = np.iinfo(f"{sign}int{bits}")
            top = min(info.max, (1 << 63) - 1)
            wide = {"int8": "int8", "uint8": "int16", "int16": "int16", "uint16": "int32", "int32": "int32"}.get(f"{sign}int{bits}", "int64")
            given = [info.min, None, top, 7]
            one(f"{sign}int{bits}", wide, pa.array(given, pa.type_for_alias(f"{sign}int{bits}")), given)
    one("bool", "bool", pa.array([True, False, None]), [True, False, None])
    one("bools", "bool", pa.array([True, False] * 999), [True, False] * 999, data_page_version="2.0")
    one("float", "float", pa.array([1.5, None, -0.0, 1e-42], pa.float32()), [np.float32(1.5), None, np.float32(-0.0), np.float32(1e-42)])
    one("double", "double", pa.array([1e300, None, 0.1]), [1e300, None, 0.1])
    one("half", "float", pa.array([np.float16(1.5), None, np.float16(6e-8)], pa.float16()), [1.5, None, float(np.float16(6e-8))])
    texts = ["", "ümläut", None, "emoji😀", "nul\0", "x" * 70000]
    one("text", "varchar", pa.array(texts), texts)
    one("text_no_statistics", "varchar", pa.array(texts), texts, write_statistics=False)
    one("text_delta", "varchar", pa.array(texts), texts, use_dictionary=False, column_encoding={"c": "DELTA_BYTE_ARRAY"})
    one("text_delta_length", "varchar", pa.array(texts), texts, use_dictionary=False, column_encoding={"c": "DELTA_LENGTH_BYTE_ARRAY"})
    one("text_large", "varchar", pa.array(texts, pa.large_string()), texts)
    one("text_view", "varchar", pa.array(texts, pa.string_view()), texts)
    one("categories", "varchar", pa.array(["a", "b", None, "a"]).dictionary_encode(), ["a", "b", None, "a"])
    one("bytes_as_text", "varchar", pa.array([b"abc", None]), ["abc", None])
    one("json", "json", pa.array(['{"a": 1}', None, "[]"], pa.json_()), ['{"a": 1}', None, "[]"])
    some = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
    one("uuid", "varchar(36)", pa.array([some.bytes, None], pa.uuid()), [str(some), None])
    days = [datetime.date(2024, 2, 29), None, datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]
    one("date", "varchar", pa.array(days), [None if day is None else day.isoformat() for day in days])
    one("time", "varchar", pa.array([datetime.time(1, 2, 3), None, datetime.time(23, 59, 59, 5)]), ["01:02:03", None, "23:59:59.000005"])
    at = datetime.datetime(2026, 11, 26, 9, 52, 1, 123456, tzinfo=datetime.timezone.utc)
    micros = int(at.timestamp()) * 10**6 + 123456
    for unit, by in [("s", 10**6), ("ms", 1000), ("us", 1), ("ns", 1)]:
        kind = pa.timestamp(unit, "UTC")
        one("moment_" + unit, "timestamptz", pa.array([at.replace(microsecond=123456 // by * by if by < 10**6 else 0), None], kind), [micros // by * by, None])
    one("moment_96", "timestamptz", pa.array([at.replace(tzinfo=None), None], pa.timestamp("ns")), [micros, None], use_deprecated_int96_timestamps=True)
    whole = [decimal.Decimal(10**17), None, decimal.Decimal(-5)]
    one("decimal_whole", "int64", pa.array(whole, pa.decimal128(18, 0)), whole)
    cents = [decimal.Decimal("1.10"), None, decimal.Decimal("-99999.99")]
    one("decimal_double", "double", pa.array(cents, pa.decimal128(9, 2)), [1.1, None, -99999.99])
    one("decimal_small", "double", pa.array(cents, pa.decimal128(9, 2)), [1.1, None, -99999.99], store_decimal_as_integer=True)
    long = [decimal.Decimal("12345678901234567890.12"), None, decimal.Decimal("-0.01")]
    one("decimal_text", "varchar", pa.array(long, pa.decimal128(30, 2)), [None if x is None else str(x) for x in long])
    one("decimal_wide", "varchar", pa.array(long, pa.decimal256(50, 2)), [None if x is None else str(x) for x in long])
    words = [["a", ""], [], None, ["ß"]]
    one("words", "array<varchar>", pa.array(words), words)
    # A dictionary without values is packed into a byte.
    one("texts_none", "varchar", pa.array([None, None, None], pa.string()), [None, None, None])
    numbers = [[1, -2], [], None, [3]]
    one("numbers", "array<int32>", pa.array(numbers, pa.list_(pa.int32())), numbers)
    # Empty lists count as none in a file's statistics.
    one("truths", "array<bool> null", pa.array([[True], [], [False, True]]), [[True], [], [False, True]])
    one("floats", "array<double>", pa.array([[0.5], [1.5, 2.5]]), [[0.5], [1.5, 2.5]])
    struct_type = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
    rows = [{"indices": [5, 2], "values": [0.5, 1.5]}, {"indices": [], "values": []}]
    pairs = [struct.pack("<IfIf", 2, 1.5, 5, 0.5), b""]
    # So do empty sparse vectors.
    one("sparse", "sparse null", pa.array(rows, struct_type), pairs)
    one("sparse_full", "sparse", pa.array(rows[:1], struct_type), pairs[:1])
    one("sparse_missing", "sparse", pa.array([rows[0], None], struct_type), [pairs[0], None])
    # Vectors of other kinds.
    f8 = F4.astype("<f8")
    one("vector_double", "float32 × 12", lists(f8, pa.list_(pa.float64())), vectors(f8.astype("<f4")))
    f2 = np.clip(F4, -6e4, 6e4).astype("<f2")
    one("vector_half", "float16 × 12", lists(f2, pa.list_(pa.float16())), vectors(f2))
    one("vector_null", "float32 × 12", pa.array([list(F4[0]), None, list(F4[1])], pa.list_(pa.float32())), [F4[0].tobytes(), None, F4[1].tobytes()])
    u1 = rng.integers(0, 256, (50, 16)).astype("u1")
    i1 = u1.astype("i1")
    fixed = pa.array(vectors(u1), pa.binary(16))
    one("bits_fixed", "binary × 128", fixed, vectors(u1))

    def wished(name, wish, kind, array, given):
        one(name, kind, array, given, settings={"paths": [path(name)], "types": {"c": wish}})

    wished("bits_list", "binary_vector", "binary × 128", lists(u1, pa.list_(pa.uint8())), vectors(u1))
    wished("bits_bytes", "binary_vector", "binary × 128", pa.array(vectors(u1)), vectors(u1))
    wished("vector_bytes", "float_vector", "float32 × 12", pa.array(vectors(F4), pa.binary(48)), vectors(F4))
    wished("vector_brain", "bfloat16_vector", "bfloat16 × 8", lists(u1, pa.list_(pa.uint8())), vectors(u1))
    wished("vector_int8", "int8_vector", "int8 × 16", lists(i1, pa.list_(pa.int8())), vectors(i1))
    wished("floats_of_ints", "float_vector", "float32 × 16", lists(i1, pa.list_(pa.int32())), vectors(i1.astype("<f4")))
    wished("as_array", "array<float>", "array<float>", lists(F4[:3]), [list(row) for row in F4[:3]])
    wished("narrow", "int8", "int8", pa.array([1, -128]), [1, -128])
    wished("text_json", "json", "json", pa.array(["{}", "[1]"]), ["{}", "[1]"])
    # Keys.
    table = pa.table({"embedding": lists(F4), "pk": pa.array([f"k{i}" for i in IDS])})
    pq.write_table(table, path("text_key"))
    expect("text_key", [("pk", "varchar key"), ("embedding", "float32 × 12")], [(f"k{i}", v) for i, v in zip(IDS, vectors(F4))],
           {"path": path("text_key"), "id": "pk"})
    expect("numbered", [("id", "int64 key"), ("embedding", "float32 × 12")], plain_rows(range(N)),
           {"path": path("text_key"), "id": "row_number", "columns": ["embedding"]})
    pq.write_table(pa.table({"id": pa.array(IDS.astype("u4")), "embedding": lists(F4)}), path("narrow_key"))
    expect("narrow_key", PLAIN, plain_rows(IDS.astype("u4")))


def several():
    os.mkdir(os.path.join(d, "several"))
    for number, name in enumerate(["part10", "part2", "part1"]):
        at = slice(number * 100, number * 100 + 100)
        pq.write_table(pa.table({"id": pa.array(IDS[at]), "embedding": lists(F4[at])}), path("several/" + name), row_group_size=30)
    order = [*range(200, 300), *range(100, 200), *range(100)]
    expect("dir", PLAIN, plain_rows(IDS[order], F4[order]), {"dir": os.path.join(d, "several")})
    expect("dir_numbered", PLAIN, plain_rows(range(300), F4[order]), {"dir": os.path.join(d, "several"), "id": "row_number", "columns": "embedding"})
    first = {"id": pa.array(IDS[:9]), "embedding": lists(F4[:9])}
    pq.write_table(pa.table(first), path("one"))
    for name, more, says in [("other_type", {"id": pa.array([str(i) for i in IDS[:9]])}, ["other_type.parquet", "column `id`"]),
                             ("other_dimension", {"embedding": lists(F4[:9, :4])}, ["other_dimension.parquet", "column `embedding`", "row 0"]),
                             ("more_columns", {"x": pa.array(range(9))}, ["more_columns.parquet", "a column `x`", "one.parquet"])]:
        pq.write_table(pa.table({**first, **more}), path(name))
        refuse(name, says, settings={"paths": [path("one"), path(name)]})
    pq.write_table(pa.table({"id": first["id"]}), path("fewer_columns"))
    refuse("fewer_columns", ["fewer_columns.parquet", "no column `embedding`"], settings={"paths": [path("one"), path("fewer_columns")]})


def bad():
    def written(name, columns, says, code=3, settings=None, **options):
        pq.write_table(pa.table(columns), path(name), **options)
        refuse(name, says, code, settings)

    ids = pa.array(range(3))
    written("no_id", {"x": ids}, ["no column `id`", "row_number"], 2)
    written("id_wrong", {"id": ids}, ["no column `pk`", "it has `id`"], 2, {"path": path("id_wrong"), "id": "pk"})
    written("id_float", {"id": pa.array([1.0, 2.0])}, ["column `id` is Float64", "whole numbers or text"])
    written("id_null", {"id": pa.array([1, None])}, ["column `id` row 1", "no value"])
    written("id_large", {"id": pa.array([1, 2**64 - 1], pa.uint64())}, ["row 1", str(2**64 - 1)])
    written("uneven", {"id": pa.array(range(900)), "v": lists([F4[0]] * 700 + [F4[0][:5]] * 200)}, ["column `v` row 700", "has 5 components, others have 12"])
    written("hole", {"id": ids, "v": pa.array([[1.0, 2.0], [1.0, None], [0.0, 0.0]])}, ["column `v` row 1", "a component is null"])
    written("wide_double", {"id": ids, "v": pa.array([[1.0, 2.0], [1e39, 1.0], [0.0, 0.0]])}, ["column `v` row 1", "too large for a float32"])
    written("map", {"id": ids, "m": pa.array([[("a", 1)], [], []], pa.map_(pa.string(), pa.int32()))}, ["column `m` is Map", "`columns:`"])
    written("struct", {"id": ids, "s": pa.array([{"a": 1}] * 3)}, ["column `s` is Struct"])
    written("nested", {"id": ids, "n": pa.array([[[1]], [[2]], []])}, ["column `n` is List"])
    written("null_type", {"id": ids, "n": pa.nulls(3)}, ["column `n` is Null"])
    written("bytes", {"id": ids, "b": pa.array([b"\xff", b"", b""])}, ["column `b` row 0", "not UTF-8"])
    written("sparse_twice", {"id": pa.array([1]), "s": pa.array([{"indices": [2, 2], "values": [1.0, 1.0]}],
            pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))]))}, ["column `s` row 0", "index 2 occurs twice"])
    refuse("unknown_type", ["there is no type `floats`"], 2, {"path": path("id_null"), "types": {"id": "floats"}})
    refuse("column_gone", ["has no column `zzz`"], 2, {"path": path("no_id"), "id": "x", "columns": ["zzz"]})
    damaged = bytearray(open(path("checksums"), "rb").read())
    damaged[len(damaged) // 3] ^= 4
    open(path("damaged"), "wb").write(damaged)
    refuse("damaged", ["damaged.parquet at byte", "checksum"])
    open(path("cut"), "wb").write(open(path("pandas"), "rb").read()[:-9])
    refuse("cut", ["cut.parquet at byte", "PAR1"])
    open(path("footer"), "wb").write(b"PAR1" + b"\xff\xff\xff\x7fPAR1")
    refuse("footer", ["footer.parquet at byte", "footer"])


writers()
types()
several()
bad()
print(json.dumps(cases))
