"""Run by benches/bulk: WORK PORT PROGRAM ROUNDS ROWS DIM."""

import os
import statistics
import subprocess
import sys
import time

import numpy as np
from pymilvus import Collection, connections

work, port, program, *numbers = sys.argv[1:]
rounds, rows, dim = map(int, numbers)
vectors = np.random.default_rng(7).standard_normal((rows, dim), dtype=np.float32)
np.save(f"{work}/vectors.npy", vectors)
np.save(f"{work}/ids.npy", np.arange(rows))
connections.connect(uri=f"http://127.0.0.1:{port}")


def cpu():
    """Processor seconds of all processes of the server, which work in its directory."""
    ticks = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if not os.readlink(f"/proc/{pid}/cwd").startswith(f"{work}/milvus"):
                continue
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def run(name, bulk):
    job = f"{work}/{name}.yaml"
    with open(job, "w") as file:
        file.write(
            f"source: {{numpy: {{vectors: {work}/vectors.npy, ids: {work}/ids.npy}}}}\n"
            f"sink: {{milvus: {{address: '127.0.0.1:{port}', collection: {name}{bulk}}}}}\n"
        )
    state = dict(os.environ, XDG_STATE_HOME=f"{work}/state")
    began, before = time.time(), cpu()
    subprocess.run([program, "run", job, "--progress", "none"], check=True, env=state, stdout=subprocess.DEVNULL)
    took = time.time() - began, cpu() - before
    return took


def check(name):
    """Every row by pymilvus."""
    c = Collection(name)
    c.create_index("embedding", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
    assert c.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"] == rows
    for first in range(0, rows, 10_000):
        last = min(rows, first + 10_000)
        found = c.query(f"{first} <= id < {last}", output_fields=["embedding"], limit=16_384)
        found.sort(key=lambda row: row["id"])
        assert [row["id"] for row in found] == list(range(first, last))
        assert np.array_equal(np.array([row["embedding"] for row in found], dtype=np.float32), vectors[first:last])
    c.release()


ratios = []
for turn in range(rounds):
    kinds = [("bulk", f", bulk: {{when: always, staging: {{path: {work}/staging}}}}"), ("insert", "")]
    took = {kind: run(f"{kind}_{turn}", more) for kind, more in (kinds if turn % 2 else kinds[::-1])}
    ratios.append([b / i for b, i in zip(took["bulk"], took["insert"])])
    print(*(f"{kind}: {wall:.1f} s, server {server:.1f} s;" for kind, (wall, server) in took.items()), flush=True)
    if turn == 0:
        check("bulk_0")
wall, server = (statistics.median(column) for column in zip(*ratios))
print(f"bulk / insert: wall {wall:.2f}, server's processor time {server:.2f}; every row equal")
