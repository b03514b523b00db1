#!/usr/bin/env python3
"""Interleaved comparison of server commands against one generator command.

    bench.py --server 'name=cmd {port}' [--server ...] --gen 'cmd {port}' [--rounds 5] [--score 0] [--gcore 1]
             [--label L] [--udp] [--latency] [--fifo PRIO] [--mode bench|duel|strace|callgrind|idle] [--counts A,B]

bench      rate, latency, CPU and allocations per request; each round runs every server once, freshly started, and the
           server that starts rotates. Prints a table and writes every round to RAW/LABEL.json. Ratios are paired: each
           round gives one ratio against the first server of the same round; shown are their median and the bound on it
           that holds with 95 % confidence whatever the distribution (an order statistic, from 5 rounds on: the worst
           of 5 to 7 rounds, the second worst of 8 to 10, ...). Rows whose server was less than 90 % busy measure the
           generator and are rejected, unless --latency says that a round trip is what is measured.
duel       rate and CPU per request to one percent: all servers are alive at once, each with a generator of its own, and take
           turns of a few milliseconds (duel.py). The generator must be loadgen
strace     system calls per request, by difference of two request counts
callgrind  user-space instructions per request, by difference of two request counts
idle       resident memory with the generator's `--conns N --hold S` idle connections

A server's first line on stdout is `backend NAME KIND`: NAME is its program's name, KIND is io_uring, epoll or blocking,
and both are checked in the process: the program that runs, the rings and epoll sets that it holds, and that it alone
listens on the port. A run in which they differ stops everything.

A server name ending in '*' is a Rust peer with the counting allocator (SIGUSR1 dumps it). The generator's output is
recognised: the JSON line of loadgen and quic-client, wrk, h2load, redis-benchmark --csv. Server CPU comes from schedstat
over the whole generator run and is divided by every request the generator made, warm-up included. User us/req is pooled
over all rounds, because the kernel samples it at its tick. Files go to $RUN, by default run/ beside this program.
"""
import argparse, collections, datetime, glob, json, math, os, platform, re, shlex, signal, socket, statistics
import subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN = Path(os.environ.get("RUN") or HERE / "run")
BIN = Path(os.environ.get("B") or HERE / "target/release")
CERTS = os.environ.get("PEER_CERT_DIR") or str(RUN / "cert")
STATS = RUN / f"stats.{os.getpid()}"  # SIGUSR1 dump of the server
LOG = RUN / "server.log"              # output of the latest server
TICKS = os.sysconf("SC_CLK_TCK")
BUSY_MIN = 0.90     # below this share of its core a server did not set the rate
CONFIDENCE = 0.95
KEYS = ["rps", "p50", "p90", "p99", "p999", "max", "cpu_us", "user_us", "srv_cpu", "gen_cpu", "allocs", "abytes",
        "rss_kb", "errors", "lost", "backlog", "mbps"]
Server = collections.namedtuple("Server", "name counting cmd")

def options():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--server", action="append", required=True, help="name=command, {port} is filled in")
    ap.add_argument("--gen", required=True, help="generator command, {port} is filled in")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--score", default="0", help="server core(s), as for taskset -c")
    ap.add_argument("--gcore", default="1", help="generator core(s)")
    ap.add_argument("--label", default="")
    ap.add_argument("--udp", action="store_true", help="do not probe the port with TCP connect")
    ap.add_argument("--latency", action="store_true", help="round trips are measured: accept servers that are not busy")
    ap.add_argument("--mode", default="bench", choices=["bench", "duel", "strace", "callgrind", "idle"])
    ap.add_argument("--slices", type=int, default=80, help="duel: turns of each server per heat")
    ap.add_argument("--subject", default="", help="duel: also a table of this server over each other one")
    ap.add_argument("--slice", type=float, default=0.03, help="duel: seconds of a turn")
    ap.add_argument("--heats", type=int, default=3, help="duel: times that everything is started afresh")
    ap.add_argument("--sample", type=int, default=2000, help="duel: samples per second that tell user from kernel; 0: none")
    ap.add_argument("--settle", type=float, default=0.15, help="seconds between server start and generator start")
    ap.add_argument("--timeout", type=float, default=60, help="seconds one generator run may take")
    ap.add_argument("--counts", default="2000,12000",
                    help="callgrind: the two request counts; strace: a quarter of the last one, and the last one")
    ap.add_argument("--fifo", type=int, default=int(os.environ.get("FIFO") or "0"),
                    help="bench: run server and generator under SCHED_FIFO at this priority (needs root); default $FIFO")
    ap.add_argument("--raw", default=str(RUN / "raw"), help="folder of the result files")
    return ap.parse_args()

def short(cmd):
    """The command without the folders of this installation, for tables and result files."""
    return cmd.replace(f"{BIN}/", "").replace(f"{RUN}/", "run/").replace(f"{HERE}/", "")

def num(x, spec=".1f"):
    return "-" if x is None else format(x, spec)

# ---- processes

def pinned(core, cmd, port, wrap=()):
    rt = ["chrt", "-f", str(A.fifo)] if A.fifo and A.mode in ("bench", "duel") else []
    return [*rt, "taskset", "-c", core, *wrap, *shlex.split(cmd.replace("{port}", str(port)))]

def is_free(port):
    """Nobody is bound to the port, over TCP or UDP, not even with SO_REUSEPORT."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as s:
            try:
                s.bind(("0.0.0.0", port))
            except OSError:
                return False
    return True

def next_port():
    """Another port for each server: no run meets the TIME_WAIT sockets or the leaked server of the one before. The range
    is below the kernel's ephemeral ports."""
    path = RUN / "next-port"
    try:
        p = int(path.read_text())
    except (FileNotFoundError, ValueError):
        p = 20000
    for _ in range(10000):
        p = p + 1 if p < 29990 else 20000
        if is_free(p):
            path.write_text(str(p))
            return p
    raise SystemExit("no free port between 20000 and 29990")

def tree(pid):
    """The process and its descendants."""
    found = [pid]
    for p in found:
        for f in glob.glob(f"/proc/{p}/task/*/children"):
            found += [int(x) for x in Path(f).read_text().split()]
    return found

def links(pid):
    """What the fds of the process and of its descendants point to."""
    found = []
    for f in (f for p in tree(pid) for f in glob.glob(f"/proc/{p}/fd/*")):
        try:
            found.append(os.readlink(f))
        except OSError:
            pass
    return found

def bound(port):
    """Inodes of the IPv4 and IPv6 sockets that listen on the TCP port, or are bound to the UDP one and unconnected."""
    found = []
    for table, state in (("udp", "07"), ("udp6", "07")) if A.udp else (("tcp", "0A"), ("tcp6", "0A")):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            f = row.split()
            if int(f[1].rsplit(":", 1)[1], 16) == port and f[3] == state:
                found.append(f[9])
    return found

def check_backend(p, cmd, port, log):
    """Ends everything unless the server is what its label says and has the port for itself."""
    if A.mode in ("strace", "callgrind"):
        return  # the process is the tool's
    want = Path(shlex.split(cmd)[0]).name.removesuffix(".sh")
    first = (log.read_text().splitlines() or ["(nothing)"])[0].split()
    if len(first) != 3 or first[:2] != ["backend", want]:
        raise SystemExit(f"{cmd}: its first line is {' '.join(first)!r}, not 'backend {want} KIND'")
    held = links(p.pid)
    ring, epoll = (any(f"anon_inode:[{x}]" in f for f in held) for x in ("io_uring", "eventpoll"))
    kind = "io_uring" if ring else "epoll" if epoll else "blocking"
    if kind != first[2]:
        raise SystemExit(f"{cmd}: says that it is {first[2]}, but its fds say {kind}")
    owners = bound(port)
    if len(owners) != 1 or f"socket:[{owners[0]}]" not in held:
        raise SystemExit(f"{cmd}: port {port} has {len(owners)} sockets, or another process's")

def start(cmd, port, wrap=(), path=None):
    path = path or LOG
    with open(path, "w") as log:
        p = subprocess.Popen(pinned(A.score, cmd, port, wrap), stdout=log, stderr=subprocess.STDOUT,
                             env=dict(os.environ, PEER_STATS=str(STATS), PEER_CERT_DIR=CERTS), start_new_session=True)
    t = time.time()
    while time.time() - t < 30:
        if A.udp:
            if bound(port):
                break
            time.sleep(0.03)
        else:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.03)
        if p.poll() is not None:
            raise SystemExit(f"server died: {cmd}: {path.read_text()[-500:]}")
    time.sleep(A.settle)
    if p.poll() is None:
        try:
            check_backend(p, cmd, port, path)
        except BaseException:
            stop(p)
            raise
    return p

def stop(p):
    if p.poll() is None:
        p.send_signal(signal.SIGTERM)
        try:
            p.wait(15 if A.mode == "callgrind" else 2)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()

def generate(port, extra=""):
    """One generator run; None if it failed or ran out of time."""
    t = time.time()
    try:
        r = subprocess.run(pinned(A.gcore, f"{A.gen} {extra}", port), capture_output=True, text=True, timeout=A.timeout)
    except subprocess.TimeoutExpired:
        print("generator timed out")
        return None
    if r.returncode and "rps" not in r.stdout:
        print("generator failed:", r.stdout[-300:], r.stderr[-500:])
        return None
    return dict(parse(r.stdout), wall=time.time() - t)

# ---- what a server used so far

def cpu(pid):
    """On-CPU seconds of all threads; user and system seconds in coarse ticks, for their proportion."""
    total = 0
    for t in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            total += int(Path(t).read_text().split()[0])
        except OSError:
            pass
    f = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return total / 1e9, int(f[11]) / TICKS, int(f[12]) / TICKS

def rss(pid):
    """Resident KiB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))

def allocs(pid):
    """(allocations, bytes) so far, of a peer with the counting allocator."""
    STATS.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    for _ in range(100):
        time.sleep(0.01)
        a = STATS.read_text().split() if STATS.exists() else []
        if len(a) == 2:
            return int(a[0]), int(a[1])
    return None

# ---- generator output

def usec(x):
    """Microseconds of "12.3us", "1.2ms", "3s"."""
    m = re.match(r"([\d.]+)(us|ms|s|m)", x)
    return float(m.group(1)) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[m.group(2)]

def parse(out):
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    if "Requests/sec" in out:
        return parse_wrk(out)
    if "finished in" in out:
        return parse_h2load(out)
    if '"rps"' in out:  # redis-benchmark --csv
        f = out.strip().splitlines()[-1].replace('"', "").split(",")
        return {"rps": float(f[1]), "p50": float(f[4]) * 1e3, "p99": float(f[6]) * 1e3, "max": float(f[7]) * 1e3,
                "n_total": int(re.search(r"-n (\d+)", A.gen).group(1))}
    raise SystemExit("cannot parse generator output:\n" + out[-2000:])

def parse_wrk(out):
    d = {"rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
         "n_total": int(re.search(r"(\d+) requests in", out).group(1))}
    for key, percent in (("p50", "50%"), ("p90", "90%"), ("p99", "99%")):
        m = re.search(rf"^\s+{percent}\s+(\S+)", out, re.M)
        if m:
            d[key] = usec(m.group(1))
    m = re.search(r"Non-2xx.*", out) or re.search(r"Socket errors: .*", out)
    if m:
        d["err"] = m.group(0)
    return d

def parse_h2load(out):
    rate = re.search(r"finished in \S+, ([\d.]+) req/s", out)
    r = re.search(r"requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed, (\d+) err", out)
    d = {"rps": float(rate.group(1)), "n_total": int(r.group(1)), "errors": int(r.group(2)) + int(r.group(3))}
    m = re.search(r"time for request:\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", out)
    if m:
        d["p50"], d["max"] = usec(m.group(3)), usec(m.group(2))  # h2load prints the mean, no median
    return d

# ---- modes

def measure(s):
    """One timed run of one server; None if it failed."""
    port = next_port()
    p = start(s.cmd, port)
    try:
        a0 = allocs(p.pid) if s.counting and p.poll() is None else None
        t0 = cpu(p.pid) if p.poll() is None else None
        d = t0 and generate(port)
        if d is None or p.poll() is not None:
            print("FAILED", s.name, LOG.read_text()[-300:])
            return None
        t1 = cpu(p.pid)
        a1 = allocs(p.pid) if s.counting else None
        n = max(d.get("n_total", 0), 1)
        user, system = t1[1] - t0[1], t1[2] - t0[2]
        d["cpu_us"] = (t1[0] - t0[0]) * 1e6 / n
        d["user_us"] = d["cpu_us"] * user / (user + system) if user + system else 0
        d["srv_cpu"] = (t1[0] - t0[0]) / d.get("run", d["wall"])
        d["rss_kb"] = rss(p.pid)
        if a0 and a1:
            d["allocs"] = (a1[0] - a0[0]) / n
            d["abytes"] = (a1[1] - a0[1]) / n
        return d
    finally:
        stop(p)

def environment():
    """One line about where and how the figures were taken."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split()
    policy = f"SCHED_FIFO {A.fifo}" if A.fifo else "SCHED_OTHER"
    return (f"{datetime.date.today()}, Linux {platform.release()}, {os.cpu_count()} CPUs {cpu.group(1) if cpu else '?'}, "
            f"rustc {rustc[1] if len(rustc) > 1 else '?'}, {policy}, server on CPU {A.score}, generator on {A.gcore}, "
            f"load average {os.getloadavg()[0]:.1f}")

def bound_rank(n):
    """How many of n paired ratios may lie beyond a bound on their median (sign test); None when n is too small."""
    best, tail = None, 0.0
    for k in range(n):
        tail += math.comb(n, k) / 2 ** n
        if tail > 1 - CONFIDENCE:
            break
        best = k
    return best

def paired(mine, base, key, higher_is_better):
    """Median of the per-round ratios to the base server, and the 95 % bound on its bad side."""
    ratios = sorted((mine[r][key] / base[r][key] for r in mine if r in base and base[r][key]), reverse=not higher_is_better)
    k = bound_rank(len(ratios))
    return (statistics.median(ratios) if ratios else None, None if k is None else ratios[k])

def summary(rounds, base):
    """The figures of one server over its rounds: {round: result}."""
    m = {}
    for key in KEYS:
        v = [d[key] for d in rounds.values() if key in d]
        m[key] = statistics.median(v) if v else None
    requests = sum(d["n_total"] for d in rounds.values())
    m["user_us"] = sum(d["user_us"] * d["n_total"] for d in rounds.values()) / max(requests, 1)
    m["ratio"], m["ratio_low"] = paired(rounds, base, "rps", True)
    m["cpu_ratio"], m["cpu_ratio_high"] = paired(rounds, base, "cpu_us", False)
    m["rejected"] = not A.latency and m["srv_cpu"] < BUSY_MIN
    return m

def bench(servers):
    runs = {s.name: {} for s in servers}
    for r in range(A.rounds):
        k = r % len(servers)
        for s in servers[k:] + servers[:k]:
            d = measure(s)
            if d:
                runs[s.name][r] = d
    print(f"### {A.label}  ({A.rounds} rounds, `{short(A.gen)}`)\n\n{environment()}\n")
    print("| server | req/s (median) | min..max | ratio | ratio >= | CPU us/req | CPU ratio | CPU ratio <= | user us/req "
          "| p50 us | p99 us | p999 us | srv core% | gen core% | allocs/req | MB/s |\n" + "|---" * 16 + "|")
    medians, base = {}, None
    for name, rounds in runs.items():
        if not rounds:
            print(f"| {name} | FAILED in every round |")
            continue
        base = base if base is not None else rounds
        m = medians[name] = summary(rounds, base)
        rps = [d["rps"] for d in rounds.values()]
        err = " ERR" if any(d.get("errors") or d.get("err") for d in rounds.values()) else ""
        err += f" LOST {m['lost']:.0f}" if m["lost"] else ""
        rates = ["**REJECTED**", "server not busy", "-", "-"] if m["rejected"] else [
            f"{m['rps']:,.0f}", f"{min(rps):,.0f}..{max(rps):,.0f}", num(m["ratio"], ".3f"), num(m["ratio_low"], ".3f")]
        percent = [m[k] and m[k] * 100 for k in ("srv_cpu", "gen_cpu")]
        print(f"| {name}{err} | {' | '.join(rates)} | {num(m['cpu_us'], '.3f')} | {num(m['cpu_ratio'], '.3f')} "
              f"| {num(m['cpu_ratio_high'], '.3f')} | {num(m['user_us'], '.3f')} "
              f"| {num(m['p50'])} | {num(m['p99'])} | {num(m['p999'])} "
              f"| {' | '.join(num(x, '.0f') for x in percent)} | {num(m['allocs'], '.3f')} | {num(m['mbps'])} |")
    for name, m in medians.items():
        if m["rejected"]:
            print(f"\n**REJECTED: {name} used {m['srv_cpu'] * 100:.0f} % of its core, the generator "
                  f"{num(m['gen_cpu'] and m['gen_cpu'] * 100, '.0f')} % of its own: its rate is not the server's limit.**")
    print(flush=True)
    os.makedirs(A.raw, exist_ok=True)
    name = re.sub(r"[^\w.-]+", "_", A.label or "run")
    Path(A.raw, f"{name}.json").write_text(json.dumps(
        {"label": A.label, "gen": short(A.gen), "environment": environment(), "servers": [short(x) for x in A.server],
         "runs": {k: list(v.values()) for k, v in runs.items()}, "median": medians}, indent=1))

def idle(servers):
    m = re.search(r"--conns (\d+)", A.gen)
    n = int(m.group(1)) if m else 10000
    print(f"### {A.label} RSS at {n} idle connections (each after one exchange)\n")
    print("| server | RSS before MiB | RSS with conns MiB | KiB/conn |\n|---|---|---|---|")
    for s in servers:
        port = next_port()
        p = start(s.cmd, port)
        try:
            before = rss(p.pid)
            g = subprocess.Popen(pinned(A.gcore, A.gen, port), stdout=subprocess.PIPE, text=True)
            line = g.stdout.readline()
            time.sleep(0.3)
            held = rss(p.pid)
            g.wait(30)
            note = "" if "held" in line else " GEN FAILED"
            print(f"| {s.name}{note} | {before / 1024:.1f} | {held / 1024:.1f} | {(held - before) / n:.2f} |", flush=True)
        except Exception as e:
            print(f"| {s.name} | failed {e} |")
        finally:
            stop(p)

def strace(servers):
    """strace counts from the start of the server on; the difference of two runs leaves the requests alone."""
    last = int(A.counts.split(",")[-1])
    out = RUN / f"strace.{os.getpid()}"
    print(f"### {A.label} syscalls per request (strace -c -f, {last} requests)\n\n| server | syscalls/req | top |\n|---|---|---|")
    for s in servers:
        seen = []
        for count in (last // 4, last):
            port = next_port()
            p = start(s.cmd, port, wrap=("strace", "-c", "-f", "-qq", "-o", str(out)))
            d = generate(port, f"--count {count}")
            kids = Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split()  # the server is strace's child
            for k in kids:
                os.kill(int(k), signal.SIGTERM)
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                for k in kids:
                    os.kill(int(k), signal.SIGKILL)
                p.wait()
            rows = [x.split() for x in out.read_text().splitlines()]
            calls = {f[-1]: int(f[3]) for f in rows
                     if len(f) >= 5 and re.match(r"[\d.]+$", f[0]) and f[-1] != "total"}
            seen.append((d["n_total"] if d else 0, calls))
        (n0, c0), (n1, c1) = seen
        diff = {k: (c1[k] - c0.get(k, 0)) / max(n1 - n0, 1) for k in c1}
        top = sorted(diff.items(), key=lambda x: -x[1])[:4]
        print(f"| {s.name} | {sum(diff.values()):.3f} | {', '.join(f'{k} {v:.3f}' for k, v in top if v > 0.0005)} |", flush=True)
    out.unlink(missing_ok=True)

def callgrind(servers):
    counts = [int(x) for x in A.counts.split(",")]
    print(f"### {A.label} user-space instructions per request "
          f"(callgrind, difference of {counts[1]} and {counts[0]} requests)\n\n| server | instr/req |\n|---|---|")
    valgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--instr-atstart=yes")
    for s in servers:
        got = []
        for count in counts:
            port = next_port()
            p = start(s.cmd, port, wrap=valgrind)
            d = generate(port, f"--count {count}")
            # valgrind 3.19 does not know that io_uring_enter blocks: connect until it has seen the signal
            p.send_signal(signal.SIGTERM)
            for _ in range(20):
                try:
                    socket.create_connection(("127.0.0.1", port), 0.2).close()
                except OSError:
                    pass
                time.sleep(0.1)
                if p.poll() is not None:
                    break
            stop(p)
            m = re.search(r"Collected : (\d+)", LOG.read_text())
            if not (d and m):
                print(f"| {s.name} | failed: {short(LOG.read_text()[-300:])!r} |", flush=True)
                break
            got.append((d["n_total"], int(m.group(1))))
        if len(got) == 2:
            (n0, i0), (n1, i1) = got
            print(f"| {s.name} | {(i1 - i0) / max(n1 - n0, 1):,.0f} |", flush=True)

def main():
    RUN.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server of this moment is stopped
    servers = []
    for x in A.server:
        name, cmd = x.split("=", 1)
        servers.append(Server(name.rstrip("*"), name.endswith("*"), cmd))
    try:
        if A.mode == "duel":
            import duel
            return duel.run(sys.modules[__name__], servers)
        {"bench": bench, "idle": idle, "strace": strace, "callgrind": callgrind}[A.mode](servers)
    finally:
        STATS.unlink(missing_ok=True)

if __name__ == "__main__":
    A = options()
    main()
