"""Called by benches/sources: REPO ENV MILVUSDM READER ROUNDS ROWS [SOURCE…]."""
import concurrent.futures, glob, http.client, json, os, random, resource, shutil, socket, statistics, subprocess, sys, tempfile, time

repo, env, milvusdm, reader, rounds, rows, *wanted = sys.argv[1:]
rounds, rows, DIM, MOST = int(rounds), int(rows), 384, 250
work = tempfile.mkdtemp(dir="/dev/shm")
rng = random.Random(1)


def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def timed(*command):
    """Seconds of a command, its seconds of processor, its peak in MiB, and what it said."""
    with open(os.path.join(work, "said"), "w+") as said:
        begun = time.monotonic()
        run = subprocess.Popen(command, stdout=said)
        _, status, usage = os.wait4(run.pid, 0)
        wall = time.monotonic() - begun
        assert status == 0, (command, status)
        said.seek(0)
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said.read()


def compare(name, job, theirs):
    """By turns: requests whose bodies are thrown away; the same rows read by our source and thrown away; a whole run into
    files in memory."""
    out, path = os.path.join(work, "out"), os.path.join(work, "job.yaml")
    with open(path, "w") as file:
        file.write(job + f"sink: {{parquet: {{dir: '{out}', compression: none}}}}\n")
    beside, reads, cpus, runs, peak = [], [], [], [], 0
    for _ in range(rounds):
        begun = time.monotonic()
        theirs()
        beside.append(time.monotonic() - begun)
        wall, cpu, memory, said = timed(reader, path)
        found = json.loads(said.splitlines()[-1])
        assert found["rows"] == rows, found
        reads.append(wall)
        cpus.append(cpu)
        shutil.rmtree(out, ignore_errors=True)
        for old in glob.glob(path + ".*"):
            os.remove(old)
        wall, _, ours, _ = timed(milvusdm, "run", path, "--progress", "none")
        runs.append(wall)
        peak = max(peak, memory, ours)
    middle, floats = statistics.median, rows * DIM * 4 / 1e6
    ratios = sorted(b / r for b, r in zip(beside, reads))
    print(f"{name:<11} thrown away {rows / middle(beside):>8.0f} rows/s; read {rows / middle(reads):>8.0f} rows/s, "
          f"ratio {middle(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; wanted 0.85), {floats / middle(cpus):.0f} MB/s of float32 a core "
          f"(wanted 200 where the ratio is less); whole run {rows / middle(runs):>8.0f} rows/s; peak {peak:.0f} MiB (wanted {MOST})", flush=True)


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request(method, path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    assert answer.status < 300, said[:500]
    connection.close()
    return said


def pages(port, requests, threads):
    """Sends requests by several connections, and throws bodies away."""
    def some(mine):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        for path, body in mine:
            connection.request("POST", path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            assert answer.status < 300
            while answer.read(1 << 20):
                pass
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, [requests[n::threads] for n in range(threads)]))


def pgvector():
    script, data = os.path.join(repo, "tests/support/postgres"), os.path.join(work, "pg")
    said = subprocess.run(["python3", script, "start", "--data", data, "--install", f"{env}/pg", "--port", "0"],
                          check=True, capture_output=True, text=True).stdout
    port = next(word[5:] for word in said.split() if word.startswith("PORT="))
    try:
        psql = os.path.join(open(os.path.join(data, "place")).read().splitlines()[-1], "psql")
        url = f"postgres://postgres:secret@127.0.0.1:{port}/postgres"
        sql = lambda text: subprocess.run([psql, url, "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", text], check=True, capture_output=True, text=True).stdout
        sql(f"CREATE EXTENSION vector; CREATE TABLE items (id bigint PRIMARY KEY, v vector({DIM}) NOT NULL, n int, t text); "
            f"INSERT INTO items SELECT n, (SELECT array_agg(random()::real) FROM generate_series(1, {DIM}) WHERE n = n)::vector, n, 'text ' || n "
            f"FROM generate_series(1, {rows}) n")
        sql("VACUUM ANALYZE items")
        parts = 4
        def theirs():
            each = -(-rows // parts)
            copies = [subprocess.Popen([psql, url, "-qX", "-c", f"COPY (SELECT * FROM items WHERE id > {p * each} AND id <= {(p + 1) * each} ORDER BY id) TO STDOUT (FORMAT binary)"],
                                       stdout=subprocess.DEVNULL) for p in range(parts)]
            assert all(copy.wait() == 0 for copy in copies)
        compare("pgvector", f"source: {{pgvector: {{url: '{url}', table: items, connections: {parts}}}}}\n", theirs)
    finally:
        subprocess.run(["python3", script, "stop", "--data", data], capture_output=True)


def chroma():
    server = subprocess.Popen([sys.executable, os.path.join(repo, "tests/support/chroma.py"), "serve", os.path.join(work, "chroma")],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().strip()[5:])
        import chromadb
        collection = chromadb.HttpClient(host="127.0.0.1", port=port).create_collection("items", embedding_function=None)
        for at in range(0, rows, 2500):
            some = range(at, min(at + 2500, rows))
            collection.add(ids=[f"id-{n}" for n in some], embeddings=[[rng.uniform(-1, 1) for _ in range(DIM)] for _ in some],
                           metadatas=[{"n": n, "x": n / 3, "yes": n % 2 == 0, "t": f"text {n}"} for n in some], documents=[f"document {n}" for n in some])
        path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{collection.id}/get"
        include = ["embeddings", "documents", "metadatas", "uris"]
        page = 1000
        bodies = [(path, json.dumps({"offset": at, "limit": page, "include": include})) for at in range(0, rows, page)]
        pages(port, bodies[:1], 1)
        compare("chroma", f"source: {{chroma: {{address: 'http://127.0.0.1:{port}', page: {page}}}}}\n", lambda: pages(port, bodies, 2))
    finally:
        server.stdin.close()
        server.wait()


def opensearch():
    home, port, transport = os.path.join(work, "os"), free(), free()
    for name in ["config", "modules", "plugins", "tmp", "logs"]:
        os.makedirs(os.path.join(home, name))
    install = f"{env}/opensearch"
    server = subprocess.Popen(["java", "-Xms1g", "-Xmx1g", "-XX:+UseSerialGC", "-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true",
                               "-Dlog4j2.disable.jmx=true", f"-Djava.io.tmpdir={home}/tmp", "-cp", f"{install}/classes:{install}/lib/*", "Launch",
                               home, str(port), str(transport)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(2400):
            try:
                ask(port, "GET", "/")
                break
            except OSError:
                time.sleep(0.1)
        ask(port, "PUT", "/items", json.dumps({"settings": {"index": {"number_of_shards": 2, "number_of_replicas": 0}},
            "mappings": {"properties": {"v": {"type": "knn_vector", "dimension": DIM}, "n": {"type": "long"}}}}))
        for at in range(0, rows, 500):
            lines = []
            for n in range(at, min(at + 500, rows)):
                lines += [json.dumps({"index": {"_id": f"id-{n}"}}), json.dumps({"v": [rng.uniform(-1, 1) for _ in range(DIM)], "n": n, "t": f"text {n}"})]
            ask(port, "POST", "/items/_bulk", "\n".join(lines) + "\n")
        # So that nothing is merged while it is measured.
        ask(port, "POST", "/items/_forcemerge?max_num_segments=1")
        ask(port, "POST", "/items/_refresh")
        page = 1000
        def theirs():
            def shard(number):
                pit = json.loads(ask(port, "POST", f"/items/_search/point_in_time?keep_alive=5m&preference=_shards:{number}"))["pit_id"]
                last = json.loads(ask(port, "POST", "/_search", json.dumps({"size": 1, "pit": {"id": pit}, "sort": [{"_seq_no": "desc"}], "_source": False})))
                last = last["hits"]["hits"][0]["sort"][0]
                bodies = [("/_search", json.dumps({"size": page, "pit": {"id": pit, "keep_alive": "5m"}, "sort": [{"_seq_no": "asc"}], "track_total_hits": False,
                           "query": {"bool": {"filter": [{"range": {"_seq_no": {"gt": at, "lte": at + page}}}]}}})) for at in range(-1, last + 1, page)]
                pages(port, bodies, 1)
                ask(port, "DELETE", "/_search/point_in_time", json.dumps({"pit_id": [pit]}))
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                list(pool.map(shard, range(2)))
        theirs()
        compare("opensearch", f"source: {{opensearch: {{urls: ['127.0.0.1:{port}'], index: items, page: {page}}}}}\n", theirs)
    finally:
        server.stdin.close()
        server.wait()


try:
    for name in wanted or ["pgvector", "chroma", "opensearch"]:
        {"pgvector": pgvector, "chroma": chroma, "opensearch": opensearch}[name]()
finally:
    shutil.rmtree(work, ignore_errors=True)
