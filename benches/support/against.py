"""Runs the benches wire and pack of two trees by turns; prints the turns' ratios. Called by benches/against."""

import re
import statistics
import subprocess
import sys

rounds = int(sys.argv[1])
ours, theirs = (part.split() for part in " ".join(sys.argv[2:]).split(" -- "))


def figures(wire, pack):
    """What one round of both benches of a tree printed, by the line's name."""
    found = {}
    text = subprocess.run([wire, "1"], capture_output=True, text=True, check=True).stdout
    for name, value in re.findall(r"^(from the file, (?:GB/s|CPU-s per GB)).*?\s([\d.]+) \(", text, re.M):
        found[f"wire, {name}"] = float(value)
    text = subprocess.run([pack], capture_output=True, text=True, check=True).stdout
    for name, value in re.findall(r"^(pack\b.*?)\s{2,}([\d.]+) GB/s", text, re.M):
        found[f"{name.split(' /')[0]}, GB/s"] = float(value)
    return found


turns = []
for turn in range(rounds):
    pair = (figures(*ours), figures(*theirs)) if turn % 2 else (figures(*theirs), figures(*ours))[::-1]
    turns.append(pair)
for name in turns[0][0]:
    ratios = sorted(mine[name] / other[name] for mine, other in turns)
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    mine, other = (statistics.median(pair[side][name] for pair in turns) for side in (0, 1))
    print(f"{name:50} {mine:7.2f} beside {other:7.2f}: {middle:.2f} ({low:.2f} to {high:.2f})")
