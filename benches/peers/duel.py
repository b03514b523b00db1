"""`bench.py --mode duel`: differences of one percent between servers, on a machine that is not quiet.

All servers are alive at once on one core, each with a generator of its own on another. All pairs are stopped (SIGSTOP) but
one, which runs for a slice of some ten milliseconds; then the next. At both edges of a slice, with everything stopped, the
driver reads the server's on-CPU time (schedstat) and the generator's count of completed requests. The order of the servers
turns round after every row of slices (ABBA). Slices next to each other share the machine's weather, so each row gives one ratio;
the table has their median and its 95 % interval (sign test, whatever the distribution). Slices in which a process waited
for its core are dropped.

Everything is started afresh several times (heats): what differs between two starts of one program (addresses, pages) is
in the column `heats`, and no difference smaller than that is one between programs. An A/A pair shows how much that is.

User-space time: the server is sampled by a timer that runs with its CPU time (perf's cpu-clock); each sample says user or
kernel. The share of user samples times the CPU time is user us/req: with n samples good to share * (1 - share) / n in
variance; the standard error is printed. The first of two figures is what the server does itself, and needs no root.
"""
import ctypes, json, math, mmap, os, re, signal, statistics, struct, subprocess, time
from pathlib import Path

WARM = 0.25           # seconds that each pair runs before the first slice
EDGE = 0.001          # seconds after which a slice's waiting for a core counts
WAITED_MAX = 0.05     # a slice counts if its processes waited for their cores for less than this share of it
SYS_PERF_EVENT_OPEN = 298  # x86-64
SAMPLE_PAGES = 64
LIBC = ctypes.CDLL(None, use_errno=True)

class Sampler:
    """Counts user and kernel samples of one thread's CPU time."""
    def __init__(self, tid, hz):
        # struct perf_event_attr: software, its size, cpu-clock, frequency; records are a header and nothing else
        attr = struct.pack("<IIQQQQQ", 1, 112, 0, 10**9 // hz, 0, 0, 0).ljust(112, b"\0")
        self.fd = LIBC.syscall(SYS_PERF_EVENT_OPEN, ctypes.c_char_p(attr), tid, -1, -1, 0)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "perf_event_open")
        self.map = mmap.mmap(self.fd, (1 + SAMPLE_PAGES) * mmap.PAGESIZE)
        self.seen, self.user, self.kernel = 0, 0, 0

    def read(self):
        head, = struct.unpack_from("<Q", self.map, 1024)
        size, at = SAMPLE_PAGES * mmap.PAGESIZE, self.seen
        while at < head:
            kind, misc, length = struct.unpack_from("<IHH", self.map, mmap.PAGESIZE + at % size)
            if kind == 9:
                self.user += misc & 7 == 2
                self.kernel += misc & 7 == 1
            at += length
        self.seen = head
        struct.pack_into("<Q", self.map, 1032, head)

    def close(self):
        self.map.close()
        os.close(self.fd)

def threads(pid):
    return [int(t) for t in os.listdir(f"/proc/{pid}/task")]

def sched(pids):
    """(on-CPU, waiting) nanoseconds of all threads of the processes. The kernel's workers for a ring are woken by SIGCONT
    with nothing to do: that they wait says nothing."""
    ran = waited = 0
    for pid in pids:
        for t in threads(pid):
            task = Path(f"/proc/{pid}/task/{t}")
            f = (task / "schedstat").read_text().split()
            ran += int(f[0])
            if not (task / "comm").read_text().startswith("iou-wrk"):
                waited += int(f[1])
    return ran, waited

def softirqd(cores):
    """The kernel threads that take over network work on these cores when there is much of it: their time is the work of
    the process there, and no wait that anything else caused."""
    found = subprocess.run(["pgrep", "-x", "|".join(f"ksoftirqd/{c}" for c in cores)], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]

def cores_of(text):
    """The numbers in a list such as 0,2-3."""
    parts = (part.split("-") for part in str(text).split(","))
    return [c for part in parts for c in range(int(part[0]), int(part[-1]) + 1)]

def stopped(pid):
    return all(Path(f"/proc/{pid}/task/{t}/stat").read_text().rsplit(")", 1)[1].split()[0] in "TXZ" for t in threads(pid))

class Pair:
    """A server, its generator, and what they did in each slice."""
    def __init__(self, b, server, number):
        self.b, self.name, self.server, self.gen = b, server.name, None, None
        self.log = b.RUN / f"duel.{number}.log"
        self.counter = b.RUN / f"duel.{number}.count"
        self.counter.write_bytes(bytes(8))
        port = b.next_port()
        self.server = b.start(server.cmd, port, path=self.log)
        self.pids = b.tree(self.server.pid)
        self.samplers = []
        args = b.pinned(b.A.gcore, b.A.gen + " --warm 0 --secs 100000", port)
        self.gen_log = open(b.RUN / f"duel.{number}.gen", "w+")
        self.gen = subprocess.Popen(args, stdout=self.gen_log, stderr=subprocess.STDOUT,
                                    env=dict(os.environ, PEER_COUNTER=str(self.counter)), start_new_session=True)
        with open(self.counter, "rb") as f:
            self.count = mmap.mmap(f.fileno(), 8, prot=mmap.PROT_READ)
        limit = time.time() + 20
        while self.requests() == 0 and time.time() < limit and self.alive():
            time.sleep(0.02)
        self.check()
        time.sleep(WARM)
        self.pids = b.tree(self.server.pid)
        self.softirqd = softirqd(cores_of(b.A.score)), softirqd(cores_of(b.A.gcore))
        if b.A.sample:
            self.samplers = [Sampler(t, b.A.sample) for p in self.pids for t in threads(p)]
        self.pause()
        self.samples()
        self.user0, self.all0 = self.user, self.sampled

    def requests(self):
        return struct.unpack("<Q", self.count[:8])[0]

    def alive(self):
        return self.server.poll() is None and self.gen.poll() is None

    def check(self):
        if not self.alive() or self.requests() == 0:
            self.gen_log.seek(0)
            raise SystemExit(f"{self.name}: server or generator ended: {self.log.read_text()[-300:]} {self.gen_log.read()[-300:]}")

    def signal(self, number):
        for p in self.pids + [self.gen.pid]:
            os.kill(p, number)

    def pause(self):
        self.signal(signal.SIGSTOP)
        while not all(stopped(p) for p in self.pids + [self.gen.pid]):
            time.sleep(0.0002)

    def samples(self):
        for s in self.samplers:
            s.read()
        self.user = sum(s.user for s in self.samplers)
        self.sampled = self.user + sum(s.kernel for s in self.samplers)

    def slice(self, seconds):
        n0, s0, g0 = self.requests(), sched(self.pids), sched([self.gen.pid])
        k0 = [sched(pids)[0] for pids in self.softirqd]
        t0 = time.monotonic()
        self.signal(signal.SIGCONT)
        time.sleep(EDGE)  # a wait that ends with the stop is told here
        waited = sched(self.pids)[1], sched([self.gen.pid])[1]
        time.sleep(seconds - EDGE)
        self.pause()
        t1 = time.monotonic()
        n1, s1, g1 = self.requests(), sched(self.pids), sched([self.gen.pid])
        k1 = [sched(pids)[0] for pids in self.softirqd]
        soft = [after - before for before, after in zip(k0, k1)]
        self.samples()
        self.check()
        d = {"n": n1 - n0, "t": t1 - t0, "cpu": (s1[0] - s0[0] + soft[0]) / 1e9, "gen": (g1[0] - g0[0] + soft[1]) / 1e9,
             "user": self.user - self.user0, "samples": self.sampled - self.all0}
        self.user0, self.all0 = self.user, self.sampled
        # A thread that waits while another of its process has the core loses nothing to anybody.
        idle = len(cores_of(self.b.A.score)) * d["t"] * 1e9 - (s1[0] - s0[0]) - soft[0]
        d["waited"] = max(min(s1[1] - waited[0] - soft[0], idle), g1[1] - waited[1] - soft[1]) / 1e9 / d["t"]
        return d

    def close(self):
        for s in self.samplers:
            s.close()
        for p in (self.gen, self.server):
            if p and p.poll() is None:
                p.kill()
                p.wait()
        self.counter.unlink(missing_ok=True)

def priority(fifo):
    """The driver has to stop what runs at real-time priority. Not so when it reaps processes: their /proc entries are torn
    down under a kernel lock for which a real-time task spins, forever if it keeps the holder from its core."""
    os.sched_setscheduler(0, os.SCHED_FIFO if fifo else os.SCHED_OTHER, os.sched_param(fifo))

def heat(b, servers):
    """One start of everything: rows of slices, one slice of every server in each."""
    pairs, rows = [], []
    try:
        for i, s in enumerate(servers):
            pairs.append(Pair(b, s, i))
        priority(b.A.fifo and b.A.fifo + 1)
        for r in range(b.A.slices):
            order = range(len(pairs)) if r % 2 == 0 else range(len(pairs) - 1, -1, -1)
            row = {i: pairs[i].slice(b.A.slice) for i in order}
            rows.append({i: d for i, d in row.items() if d["waited"] < WAITED_MAX and d["n"]})
        return rows
    finally:
        priority(0)
        for p in pairs:
            p.close()

def rank(n):
    """How many of n values lie outside a two-sided 95 % interval of the median, on each side."""
    best, tail = None, 0.0
    for k in range(n):
        tail += math.comb(n, k) / 2 ** n
        if tail > 0.025:
            break
        best = k
    return best

def median_of(v):
    v, k = sorted(v), rank(len(v))
    return (statistics.median(v), v[k], v[-1 - k]) if k is not None else (None, None, None)

def table(b, servers, heats):
    print("| server | req/s | ratio | 95 % | heats | CPU us/req | ratio | 95 % | heats | user us/req (s.e.) | srv core% | gen core% |\n"
          + "|---" * 12 + "|")
    out = {}
    for i, s in enumerate(servers):
        rate = lambda d: d["n"] / d["t"]
        cost = lambda d: d["cpu"] / d["n"]
        mine = [row[i] for h in heats for row in h if i in row]
        if not mine:
            print(f"| {s.name} | waited for its core in all slices |")
            continue
        total = {k: sum(d[k] for d in mine) for k in ("n", "t", "cpu", "gen", "user", "samples")}
        share = total["user"] / total["samples"] if total["samples"] else None
        cpu_us = total["cpu"] * 1e6 / total["n"]
        f = out[s.name] = {"slices": len(mine), "rps": statistics.median(map(rate, mine)),
                           "cpu_us": statistics.median(map(cost, mine)) * 1e6,
                           "user_us": share and share * cpu_us,
                           "user_error": share and cpu_us * math.sqrt(share * (1 - share) / total["samples"]),
                           "srv": total["cpu"] / total["t"], "gen": total["gen"] / total["t"]}
        cells = []
        for key, value in (("rate", rate), ("cpu", cost)):
            ratios = [[value(row[i]) / value(row[0]) for row in h if i in row and 0 in row] for h in heats]
            m = f[key + "_ratio"] = median_of(sum(ratios, []))
            f[key + "_heats"] = [statistics.median(r) for r in ratios if r]
            cells.append((f"{m[0]:.3f} | {m[1]:.3f}..{m[2]:.3f}" if m[0] else "- | -")
                         + " | " + " ".join(f"{x:.3f}" for x in f[key + "_heats"]))
        user = "-" if share is None else f"{f['user_us']:.3f} ({f['user_error']:.3f})"
        print(f"| {s.name} | {f['rps']:,.0f} | {cells[0]} | {f['cpu_us']:.3f} | {cells[1]} | {user} "
              f"| {f['srv'] * 100:.0f} | {f['gen'] * 100:.0f} |")
    return out

def subject_table(b, servers, heats):
    """The subject over each other server: the quotient of the slices of one row."""
    index = next((i for i, s in enumerate(servers) if s.name == b.A.subject), None)
    if index is None:
        raise SystemExit(f"--subject {b.A.subject}: no such server")
    print(f"\n| {b.A.subject} over | req/s | 95 % | CPU us/req | 95 % |\n" + "|---" * 5 + "|")
    out = {}
    for i, s in enumerate(servers):
        if i == index:
            continue
        rows = [(row[index], row[i]) for h in heats for row in h if i in row and index in row]
        rate = median_of([x["n"] / x["t"] / (y["n"] / y["t"]) for x, y in rows])
        cost = median_of([x["cpu"] / x["n"] / (y["cpu"] / y["n"]) for x, y in rows])
        out[s.name] = {"rate": rate, "cost": cost}
        cell = lambda m: f"{m[0]:.3f} | {m[1]:.3f}..{m[2]:.3f}" if m[0] else "- | -"
        print(f"| {s.name} | {cell(rate)} | {cell(cost)} |")
    return out

def run(b, servers):
    heats = [heat(b, servers) for _ in range(b.A.heats)]
    print(f"### {b.A.label}  (duel, {b.A.heats} heats of {b.A.slices} slices of {b.A.slice * 1e3:.0f} ms, `{b.short(b.A.gen)}`)\n")
    print(f"{b.environment()}\n")
    figures = table(b, servers, heats)
    subject = subject_table(b, servers, heats) if b.A.subject else None
    kept = sum(len(row) for h in heats for row in h)
    print(f"\n{kept} of {b.A.heats * b.A.slices * len(servers)} slices counted.\n", flush=True)
    os.makedirs(b.A.raw, exist_ok=True)
    name = re.sub(r"[^\w.-]+", "_", b.A.label or "duel")
    Path(b.A.raw, f"duel-{name}.json").write_text(json.dumps(
        {"label": b.A.label, "gen": b.short(b.A.gen), "environment": b.environment(),
         "servers": [b.short(x) for x in b.A.server], "figures": figures, "subject": subject, "heats": heats}))
