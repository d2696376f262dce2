"""Fills an OpenSearch for tests/sources/search.rs, and says what it holds. Standard library only.

    search.py make ADDRESS            indices of every kind
    search.py still ADDRESS N DIM     the index `still` in two shards
    search.py rows ADDRESS NAME N     an index of N documents in three shards
    search.py dump ADDRESS NAME       every document by its _id, read by ids and not by a search
    search.py states ADDRESS NAME     how many states of an index's shards it keeps for someone
    search.py upset ADDRESS NAME [all]
                                      writes two documents of three, or all, anew; else deletes the rest, and adds some
    search.py write ADDRESS NAME      writes, rewrites and deletes until it is killed; `keep-*` stay as they are
"""
import json, random, struct, sys, time, urllib.error, urllib.request

verb, address = sys.argv[1:3]
NASTY = ["plain", "with space", 'quo"te', "back\\slash", "tab\there", "a/b?c#d%41", "ünï-日本-😀", "x" * 512, "'", ".", "_a", "1"]


def call(method, path, body=None, lines=False):
    data = None if body is None else (body if lines else json.dumps(body)).encode()
    kind = "application/x-ndjson" if lines else "application/json"
    request = urllib.request.Request(address + path, data, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"{}")


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def vector(number, dim):
    r = random.Random(number)
    return [r.choice([r.uniform(-1, 1), f32(r.uniform(-1, 1)), float(r.randrange(-3, 4)), r.uniform(-1, 1) * 1e-7]) for _ in range(dim)]


def put(index, documents, refresh=True):
    documents = list(documents)
    for at in range(0, len(documents), 500):
        lines = []
        for name, document in documents[at:at + 500]:
            lines.append(json.dumps({"index": {"_index": index, "_id": name}}))
            lines.append(document if isinstance(document, str) else json.dumps(document))
        answer = call("POST", "/_bulk", "\n".join(lines) + "\n", lines=True)
        assert not answer["errors"], [i for i in answer["items"] if "error" in i["index"]][:1]
    if refresh:
        call("POST", f"/{index}/_refresh")


def create(name, properties, shards=1, source=None, **more):
    settings = {"index": {"number_of_shards": shards, "number_of_replicas": 0, **more}}
    mappings = {"properties": properties, **({"_source": source} if source else {})}
    call("PUT", f"/{name}", {"settings": settings, "mappings": mappings})


def knn(dim, **more):
    return {"type": "knn_vector", "dimension": dim, **more}


def plain(name, count, dim=16, shards=3):
    create(name, {"v": knn(dim), "n": {"type": "long"}}, shards)
    put(name, ((f"keep-{n:06}", {"v": vector(n, dim), "n": n, "text": "word " * (n % 7)}) for n in range(count)))


def make():
    create("items", {
        "v": knn(8, space_type="cosinesimil"),
        "inner": {"properties": {"w": knn(4)}},
        "title": {"type": "text"}, "tags": {"type": "keyword"}, "n": {"type": "integer"}, "big": {"type": "long"},
        "price": {"type": "double"}, "when": {"type": "date", "format": "strict_date_optional_time||epoch_millis||yyyy/MM/dd"},
        "where": {"type": "geo_point"}, "opaque": {"type": "object", "enabled": False}, "parts": {"type": "nested", "properties": {"name": {"type": "keyword"}}},
    }, 3)
    WHEN = ["2024-01-02", "2024-01-02T03:04:05", "2024-01-02T03:04:05.678+02:00", 1704164645678, "1704164645678", "2024/01/02"]
    WHERE = ["41.12,-71.34", [-71.34, 41.12], {"lat": 41.12, "lon": -71.34}, "drm3btev3e86", "POINT (-71.34 41.12)"]

    def item(number):
        document = {"v": vector(number, 8), "title": 'says "x" \\ ünï ' + "t" * (number % 50), "big": 2**62 + number,
                    "when": WHEN[number % 6], "where": WHERE[number % 5], "n": ["5", 5, 5.7][number % 3],
                    "tags": [["a"], "one", [], ["b", "c"]][number % 4], "inner": {"w": vector(-number, 4), "x": {"y": [1, None]}},
                    "parts": [{"name": f"p{k}"} for k in range(number % 4)], "a.dotted.key": number}
        if number % 2:
            document["price"] = number / 8
        if number % 5 == 0:
            document["none"] = None
        return document

    names = NASTY + [f"id-{n:05}" for n in range(2500)]
    put("items", ((name, item(n)) for n, name in enumerate(names)))
    # Written again, and deleted.
    put("items", ((name, item(n + 7)) for n, name in enumerate(names) if n % 11 == 0))
    for name in names[100:140]:
        call("DELETE", f"/items/_doc/{name}")
    # As it is written, down to the last digit.
    put("items", [("raw", '{"v":[1,2,3,4,5,6,7,8.0],"inner":{"w":[0.1,1e-3,-0.0,16777217]},"num":1.50000,"opaque":{"huge":123456789012345678901},"esc":"\\u00fc\\/"}')])
    call("POST", "/items/_refresh")
    create("bytes", {"v": knn(8, data_type="byte", space_type="l2")}, 2)
    put("bytes", ((f"b{n}", {"v": [(n * k * 7 + k) % 256 - 128 for k in range(8)]}) for n in range(300)))
    create("empty", {"v": knn(4)})
    create("typed", {"v": knn(4), "n": {"type": "integer"}, "small": {"type": "byte"}, "price": {"type": "scaled_float", "scaling_factor": 100},
                     "yes": {"type": "boolean"}, "tags": {"type": "keyword"}, "when": {"type": "date"}, "where": {"type": "geo_point"},
                     "other": {"type": "object", "enabled": False}}, 2)
    put("typed", ((f"t{n}", {"v": vector(n, 4), "n": str(n) if n % 3 else n, "small": n % 100, "price": n / 4, "yes": n % 2 == 0,
                             "tags": ["a", f"t{n}"], "when": 1704164645678 + n, "where": f"2.25,{n % 90}.5", "other": f"o{n}"}) for n in range(200)))
    create("lacking", {"v": knn(2)})
    put("lacking", [("a", {"v": [1, 2]}), ("b", {}), ("c", {"x": 1}), ("d", {"v": [3, 4], "x": 2}), ("e", {"v": None})])
    create("loose", {"v": knn(2)})
    put("loose", [("a", {"v": [1, 2], "v2": [1, 2]}), ("b", {"v": [3, 4], "v2": [1]})])
    create("excluded", {"v": knn(2)}, source={"excludes": ["secret"]})
    put("excluded", ((f"e{n}", {"v": [n, 1], "n": n, "secret": "s"}) for n in range(5)))
    create("hidden", {"v": knn(2)}, source={"excludes": ["v"]})
    put("hidden", [("a", {"v": [1, 2]})])
    create("long", {"v": knn(2), "text": {"type": "keyword", "index": False, "doc_values": False}})
    put("long", [("long row", {"v": [1, 2], "text": "ü" * 40_000}),
                 ("like json", {"v": [3, 4], "text": "short", "object": '{"a": 1}', "list": "[1, 2]"})])
    for name, document in [("taken_id", {"id": 1}), ("taken_meta", {"$meta": 1}), ("keys", {"dots.in.it": 1, "k" * 300: 2})]:
        create(name, {"v": knn(2)})
        put(name, [("a row", {"v": [1, 2], **document})])
    plain("aliased-000001", 40, dim=4)
    call("POST", "/_aliases", {"actions": [{"add": {"index": "aliased-000001", "alias": "aliased"}}]})


def dump(name):
    ids, seen = [], {}
    for shard in range(int(call("GET", f"/{name}/_settings?flat_settings=true")[name]["settings"]["index.number_of_shards"])):
        answer = call("POST", f"/{name}/_search?scroll=1m&preference=_shards:{shard}", {"size": 1000, "_source": False})
        while answer["hits"]["hits"]:
            ids += [hit["_id"] for hit in answer["hits"]["hits"]]
            answer = call("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": answer["_scroll_id"]})
    for at in range(0, len(ids), 500):
        for found in call("POST", f"/{name}/_mget", {"ids": ids[at:at + 500]})["docs"]:
            if found["found"]:
                seen[found["_id"]] = found["_source"]
    print(json.dumps(seen))


def write(name):
    print("writing", flush=True)
    r = random.Random(5)
    while True:
        put(name, ((f"move-{r.randrange(400):04}", {"v": vector(r.randrange(10**6), 16), "n": -1}) for _ in range(50)))
        for _ in range(10):
            try:
                call("DELETE", f"/{name}/_doc/move-{r.randrange(400):04}")
            except urllib.error.HTTPError:
                pass
        time.sleep(0.02)


if verb == "make":
    make()
elif verb == "rows":
    plain(sys.argv[3], int(sys.argv[4]))
elif verb == "still":
    count, dim = map(int, sys.argv[3:5])
    create("still", {"v": knn(dim)}, 2)
    put("still", ((f"row {n}", {"v": [n + k / 8 for k in range(dim)], "n": n}) for n in range(count)))
elif verb == "upset":
    count = call("GET", f"/{sys.argv[3]}/_count")["count"]
    everything = sys.argv[4:] == ["all"]
    again = {"n": -1, "text": "again"}
    put(sys.argv[3], ((f"keep-{n:06}", {"v": vector(n + 7, 16), **again}) for n in range(count) if everything or n % 3))
    if not everything:
        gone = (json.dumps({"delete": {"_index": sys.argv[3], "_id": f"keep-{n:06}"}}) for n in range(0, count, 3))
        call("POST", "/_bulk", "\n".join(gone) + "\n", lines=True)
        put(sys.argv[3], ((f"new-{n}", {"v": vector(n, 16), **again}) for n in range(500)))
elif verb == "dump":
    dump(sys.argv[3])
elif verb == "states":
    print(call("GET", f"/{sys.argv[3]}/_stats/search")["_all"]["total"]["search"]["point_in_time_current"])
elif verb == "write":
    write(sys.argv[3])
