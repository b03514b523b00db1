#!/usr/bin/env python3
"""How much of the user time of TLS echo servers is the cipher's.

    cipher-share.py SIZE SERVER...

Each server gets 64 connections with messages of SIZE bytes from `loadgen --tls`, and a sample of its user time every 100 us
of CPU time (perf's cpu-clock). The cipher is what has a symbol of aws-lc: no handshakes happen meanwhile.
"""
import os, re, signal, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN = Path(os.environ.get("RUN") or HERE / "run")
BIN = os.environ.get("B") or str(HERE / "target/release")
SECONDS, WARM, PORT = 3, 1.0, 21900
TOP = 8
# Not all of its routines have its prefix, and labels inside of them are symbols of their own.
CIPHER = re.compile(r"aws_lc|aes_|aesni|gcm_|ghash|vaes|init_IV|OPENSSL_", re.I)

def pinned(core, *args):
    return ["taskset", "-c", core, *args]

def samples(pid, seconds):
    """{symbol: samples} of the process's user time."""
    data = RUN / "perf.data"
    subprocess.run(["perf", "record", "-q", "-e", "cpu-clock:u", "-F", "10000", "-o", data, "-p", str(pid),
                    "--", "sleep", str(seconds)], check=True, stdout=subprocess.DEVNULL)
    out = subprocess.run(["perf", "report", "-i", data, "--stdio", "--sort", "symbol", "-n", "--percent-limit", "0"],
                         capture_output=True, text=True, check=True).stdout
    data.unlink()
    found = {}
    for line in out.splitlines():
        m = re.match(r"\s+[\d.]+%\s+(\d+)\s+\[.\]\s+(.*?\S)(\s+-\s+-)?\s*$", line)
        if m:
            found[m.group(2)] = found.get(m.group(2), 0) + int(m.group(1))
    return found

def share(size, server, port):
    log = open(RUN / "share.log", "w")
    s = subprocess.Popen(pinned("0", server, str(port)), stdout=log, stderr=log)
    g = None
    try:
        time.sleep(0.5)
        g = subprocess.Popen(pinned("1", f"{BIN}/loadgen", "--tls", "--port", str(port), "--conns", "64", "--size", str(size),
                                    "--secs", "1000"), stdout=log, stderr=log)
        time.sleep(WARM)
        return samples(s.pid, SECONDS)
    finally:
        for p in (g, s):
            if p:
                p.send_signal(signal.SIGKILL)
                p.wait()

def main():
    size, servers = sys.argv[1], sys.argv[2:]
    print(f"### cipher's share of user time, 64 connections, {size} bytes\n\n| server | samples | cipher | most besides |\n|---|---|---|---|")
    for i, server in enumerate(servers):
        found = share(size, server, PORT + i)
        total = max(sum(found.values()), 1)
        cipher = sum(n for name, n in found.items() if CIPHER.search(name))
        rest = sorted(((n, name) for name, n in found.items() if not CIPHER.search(name)), reverse=True)[:TOP]
        shown = ", ".join(f"{name.replace('|', '/')[:60]} {n / total:.3f}" for n, name in rest)
        print(f"| {Path(server).name} | {total} | {cipher / total:.3f} | {shown} |", flush=True)
        if os.environ.get("VERBOSE"):
            for name, n in sorted(found.items(), key=lambda x: -x[1])[:25]:
                print(f"    {n / total:.3f} {name}")

main()
