#!/bin/sh
# Install the Debian packages that the benchmark needs: the peers and the load generators. Nothing is started.
set -eu
packages="docker.io podman netavark aardvark-dns containernetworking-plugins runc conmon busybox-static
etcd-server etcd-client wireguard-go wireguard-tools iperf3 dnsperf gcc libc6-dev iproute2 iptables nftables util-linux"
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "bench/install.sh: to be installed as root:$missing" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
# A benchmark brings its own daemons: those of the packages must not start and take the default sockets.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT INT TERM
fi
apt-get update -q
# shellcheck disable=SC2086  # one word per package is meant
apt-get install -q -y --no-install-recommends $missing
