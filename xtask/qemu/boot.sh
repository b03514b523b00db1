#!/usr/bin/env bash
# Boots one of Debian's own kernels in a qemu guest, with translated code, and runs one program in
# it. The guest is an initial file system of busybox, the program and its libraries; nothing else.
#
#   boot.sh [-b | -n] [-m "MODULE ..."] [-t SECONDS] [-c CPUS] [-M MEGABYTES] -- PROGRAM [ARG...]
#
# -b   the kernel of bookworm-backports (6.12) instead of bookworm's (6.1)
# -n   the kernel of trixie-backports (7.3 when this was written), the newest that there is
# -m   kernel modules to load, with what they depend on (default: tls veth sch_netem)
#
# The program's output comes back on standard output, its exit status is ours; 125: the guest gave
# none (time-out, panic). Needs qemu-system-x86, busybox-static, cpio, kmod, xz-utils, and apt-get to
# download the kernel once, into ${ZERO_IO_KERNELS:-~/.cache/zero-io/kernels}.
set -eu -o pipefail

suite='' mark='' modules='tls veth sch_netem' limit_s=180 cpus=2 memory_mb=768
while getopts bnm:t:c:M: option; do
  case $option in
    b) suite=bookworm-backports mark='~bpo12+' ;;
    n) suite=trixie-backports mark='~bpo13+' ;;
    m) modules=$OPTARG ;;
    t) limit_s=$OPTARG ;;
    c) cpus=$OPTARG ;;
    M) memory_mb=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ "${1:-}" != -- ] || shift
[ $# -ge 1 ] || { echo "boot.sh: no program" >&2; exit 2; }
program=$1
shift

kernels=${ZERO_IO_KERNELS:-$HOME/.cache/zero-io/kernels}
mkdir -p "$kernels"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The newest package file in $kernels of that suite, by its name; empty when there is none.
cached_package() {
  local file found=''
  for file in "$kernels"/linux-image-*-cloud-amd64*.deb; do
    [ -e "$file" ] || continue
    case $file in
      *"~bpo"*) if [ -n "$mark" ] && [[ $file == *"$mark"* ]]; then found=$file; fi ;;
      *) [ -n "$mark" ] || found=$file ;;
    esac
  done
  printf '%s' "$found"
}

# The machine's package sources stay as they are: backports get an apt state of their own.
download_package() {
  local apt=(-o APT::Sandbox::User=root) state=$kernels/apt/$suite mirror package parts
  if [ -n "$suite" ]; then
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1)
    mirror=${mirror:-$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' /etc/apt/sources.list)}
    printf 'deb [signed-by=%s] %s %s main\n' \
      /usr/share/keyrings/debian-archive-keyring.gpg "$mirror" "$suite" > "$state/sources.list"
    apt+=(-o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null
      -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache")
    apt-get "${apt[@]}" -q update >&2
  fi
  # The metapackage names the package of the current version.
  package=$(apt-cache "${apt[@]}" depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
  [ -n "$package" ] || { echo "boot.sh: apt knows no linux-image-cloud-amd64; apt-get update?" >&2; return 1; }
  # Since 7.x it is made of three.
  mapfile -t parts < <(apt-cache "${apt[@]}" depends "$package" |
    awk '/Depends: linux-(binary|modules)-/ { print $2 }')
  (cd "$kernels" && apt-get "${apt[@]}" -q download "$package" "${parts[@]}" >&2)
}

package=$(cached_package)
if [ -z "$package" ]; then
  download_package
  package=$(cached_package)
fi
[ -n "$package" ] || { echo "boot.sh: no kernel package in $kernels" >&2; exit 1; }

unpacked=$kernels/$(basename "$package" .deb)
if [ ! -d "$unpacked" ]; then
  for part in image binary modules; do
    file=${package/linux-image-/linux-$part-}
    [ ! -e "$file" ] || dpkg-deb -x "$file" "$unpacked.part"
  done
  [ -e "$unpacked.part/lib" ] || ln -s usr/lib "$unpacked.part/lib"
  mv "$unpacked.part" "$unpacked"
fi
version=$(ls "$unpacked/lib/modules")
[ -f "$unpacked/lib/modules/$version/modules.dep" ] || depmod -b "$unpacked" "$version"

kernel=$unpacked/boot/vmlinuz-$version
[ -f "$kernel" ] || kernel=$unpacked/lib/modules/$version/vmlinuz

# The guest's file system.
guest=$scratch/guest
mkdir -p "$guest"/{bin,dev,etc,mods,proc,run,sys,tmp}
cp "$(command -v busybox)" "$guest/bin/busybox"
cp -L "$program" "$guest/bin/program"
# 127.0.0.1 has its name there too.
# Names are looked up in that file alone.
printf 'hosts: files\n' > "$guest/etc/nsswitch.conf"
printf 'multi on\n' > "$guest/etc/host.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' > "$guest/etc/hosts"
# busybox's ip makes no interfaces.
ip=$(command -v ip || true)
[ -z "$ip" ] || { mkdir -p "$guest/sbin"; cp -L "$ip" "$guest/sbin/ip"; }
for library in $(ldd "$program" $ip 2>/dev/null | grep -o '/[^ :]*' | sort -u); do
  case $library in *.so | *.so.*) ;; *) continue ;; esac
  mkdir -p "$guest$(dirname "$library")"
  cp -L "$library" "$guest$library"
done
number=100
for module in $modules; do
  modprobe -d "$unpacked" -S "$version" --show-depends "$module" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > "$scratch/modules"
while read -r file; do
  name=$number-$(basename "$file")
  case $file in
    *.xz) xz -dc "$file" > "$guest/mods/${name%.xz}" ;;
    *) cp "$file" "$guest/mods/$name" ;;
  esac
  number=$((number + 1))
done < "$scratch/modules"

printf '%q ' /bin/program "$@" > "$guest/command"
cat > "$guest/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/sbin:/bin HOME=/tmp RUST_BACKTRACE=1
# For tests that say how late a thing may be.
export ZERO_IO_SLOWER=10
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
for module in /mods/*.ko; do insmod "$module" 2>/dev/null; done
ip link set lo up
ulimit -n 20000
echo "guest: Linux $(uname -r)"
cd /tmp
sh -c "$(cat /command)"
echo "guest-status: $?"
poweroff -f
INIT
chmod +x "$guest/init"
(cd "$guest" && find . | cpio -o -H newc --quiet | gzip -1) > "$scratch/initrd"

# cx16 off: with it, this qemu's translation of cmpxchg16b corrupts flags.
timeout "$limit_s" qemu-system-x86_64 -accel tcg,thread=multi -cpu max,-cx16 -smp "$cpus" \
  -m "$memory_mb" -nodefaults -no-reboot -display none -serial stdio \
  -kernel "$kernel" -initrd "$scratch/initrd" \
  -append "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off tsc=unstable random.trust_cpu=on" \
  </dev/null 2>&1 | tr -d '\r' | tee "$scratch/log" | grep -v '^guest-status: ' || true

status=$(sed -n 's/^guest-status: //p' "$scratch/log" | tail -1)
[ -n "$status" ] || { echo "boot.sh: the guest gave no status (time-out or panic)" >&2; exit 125; }
exit "$status"
