"""Pairs of milvusdm and the pre-encoded client, back to back; see benches/f2m.

    f2m.py WORK PORT MILVUSDM ROWS DIM PAIRS
"""
import json, os, resource, statistics, subprocess, sys, time
import faiss, numpy as np
from pymilvus import connections, utility

work, port, milvusdm = sys.argv[1:4]
rows, dim, pairs = map(int, sys.argv[4:7])
here = os.path.dirname(os.path.abspath(__file__))
os.chdir(work)
vectors = np.random.default_rng(7).standard_normal((rows, dim), dtype=np.float32)
np.save("rows.npy", vectors)
index = faiss.IndexFlatL2(dim)
index.add(vectors)
faiss.write_index(index, "rows.index")
open("F2M.yaml", "w").write(f"""F2M:
  milvus_version: 2.x
  data_path: rows.index
  dest_host: 127.0.0.1
  dest_port: {port}
  mode: append
  dest_collection_name: ours
  dest_partition_name: ''
  collection_parameter: {{dimension: {dim}, index_file_size: 1024, metric_type: L2}}
""")
connections.connect(uri=f"http://127.0.0.1:{port}")


def ours():
    if utility.has_collection("ours"):
        utility.drop_collection("ours")
        time.sleep(1)
    for name in os.listdir("."):
        if name.endswith(".ckpt"):
            os.remove(name)
    start = time.monotonic()
    process = subprocess.Popen([milvusdm, "--yaml", "F2M.yaml", "--progress", "none"], stdout=subprocess.PIPE)
    # The peak of the process's own memory: getrusage would count ours before the exec, too.
    peak_kb = 0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        for line in open(f"/proc/{process.pid}/status"):
            if line.startswith("VmHWM:"):
                peak_kb = max(peak_kb, int(line.split()[1]))
        time.sleep(0.02)
    said = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    assert status == 0 and f"{rows} delivered" in said, said
    return wall, usage.ru_utime + usage.ru_stime, peak_kb / 1024


def perfect():
    out = subprocess.run([sys.executable, os.path.join(here, "perfect_client.py"), f"127.0.0.1:{port}", "rows.npy", "--flush"],
                         check=True, stdout=subprocess.PIPE).stdout
    result = json.loads(out)
    return result["wall_s"], result["client_cpu_s"]


ours(), perfect()  # warm: the server, the page cache
table = []
for n in range(pairs):
    a, b = (ours(), perfect()) if n % 2 == 0 else reversed((perfect(), ours()))
    table.append((a, b))
    print(f"pair {n}: milvusdm {a[0]:.2f} s wall, {a[1]:.2f} s CPU, {a[2]:.0f} MiB; "
          f"pre-encoded {b[0]:.2f} s wall, {b[1]:.2f} s CPU; ratio {a[0] / b[0]:.2f}", flush=True)
ratios = [a[0] / b[0] for a, b in table]
print(f"{rows} x {dim}: median ratio {statistics.median(ratios):.2f} (of {pairs} pairs); milvusdm median wall "
      f"{statistics.median(a[0] for a, _ in table):.2f} s, CPU {statistics.median(a[1] for a, _ in table):.2f} s, "
      f"peak memory {max(a[2] for a, _ in table):.0f} MiB")
