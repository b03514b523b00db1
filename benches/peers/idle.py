#!/usr/bin/env python3
"""What a zero-io server costs that has nothing to do, and what a message costs beside idle connections.

    . ./env.sh; python3 idle.py [rounds]

1. CPU time of an idle second (schedstat), after traffic, with each way of spinning.
2. CPU time per message at one active connection beside 10, 1,000 and 10,000 idle ones: three servers alive at once, in
   turns, and the ratio of each round's figures. Flat is 1.
"""
import json, os, signal, statistics, subprocess, sys, time
from pathlib import Path

BIN = Path(os.environ["B"])
SERVER_CORE, GENERATOR_CORE = "0", "1"
IDLE_COUNTS = [10, 1_000, 10_000]
FIRST_PORT = 21_300
HOLD_SECONDS = 300
SETTLE = 0.3
FIFO = ["chrt", "-f", os.environ["FIFO"]] if os.environ.get("FIFO", "0") != "0" else []

def pinned(core, *cmd):
    return ["taskset", "-c", core, *FIFO, *map(str, cmd)]

def serve(port, *knobs):
    p = subprocess.Popen(pinned(SERVER_CORE, BIN / "echo-zero", port, *knobs), stdout=subprocess.PIPE, text=True)
    p.stdout.readline()  # its backend: it listens
    return p

def load(port, conns, secs):
    out = subprocess.run(pinned(GENERATOR_CORE, BIN / "loadgen", "--port", port, "--conns", conns, "--size", 64,
                                "--warm", 0.05, "--secs", secs), capture_output=True, text=True, check=True).stdout
    return json.loads(out.strip().splitlines()[-1])["n_total"]

def hold(port, conns):
    p = subprocess.Popen(pinned(GENERATOR_CORE, BIN / "loadgen", "--port", port, "--conns", conns, "--hold", HOLD_SECONDS),
                         stdout=subprocess.PIPE, text=True)
    assert "held" in p.stdout.readline(), "the generator did not get its connections"
    return p

def cpu_ns(pid):
    return sum(int(Path(f"/proc/{pid}/task/{t}/schedstat").read_text().split()[0]) for t in os.listdir(f"/proc/{pid}/task"))

def idle_seconds(port, processes):
    print("| spin | CPU of an idle second, us |\n|---|---|")
    for i, spin in enumerate(["off", "auto", "always"]):
        p = serve(port + i, f"spin={spin}")
        processes.append(p)
        load(port + i, 1, 0.3)
        time.sleep(SETTLE)
        used = []
        for _ in range(3):
            before = cpu_ns(p.pid)
            time.sleep(1)
            used.append((cpu_ns(p.pid) - before) / 1e3)
        print(f"| {spin} | {statistics.median(used):,.1f} |", flush=True)
        p.terminate()

def beside_idle(port, rounds, processes):
    servers = []
    for i, conns in enumerate(IDLE_COUNTS):
        p = serve(port + i)
        processes += [p, hold(port + i, conns)]
        servers.append(p)
    costs = [[] for _ in IDLE_COUNTS]
    for r in range(rounds):
        order = range(len(servers)) if r % 2 == 0 else range(len(servers) - 1, -1, -1)
        for i in order:
            before = cpu_ns(servers[i].pid)
            n = load(port + i, 1, 0.4)
            costs[i].append((cpu_ns(servers[i].pid) - before) / 1e3 / n)
    print("\n| idle connections | CPU us/message | ratio | min..max |\n|---|---|---|---|")
    for i, conns in enumerate(IDLE_COUNTS):
        ratios = [a / b for a, b in zip(costs[i], costs[0])]
        print(f"| {conns:,} | {statistics.median(costs[i]):.2f} | {statistics.median(ratios):.3f} "
              f"| {min(ratios):.3f}..{max(ratios):.3f} |")

def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    processes = []
    try:
        idle_seconds(FIRST_PORT, processes)
        beside_idle(FIRST_PORT + 10, rounds, processes)
    finally:
        for p in processes:
            if p.poll() is None:
                p.send_signal(signal.SIGKILL)
                p.wait()

main()
