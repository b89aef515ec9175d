#!/usr/bin/env bash
# Several hosts on one machine: runs a command on the first of N emulated hosts, which see each other over a network of their own only.
#
#     scripts/cluster_emulation.sh [--hosts 4] [--rate 1gbit] [--delay 200us] COMMAND…
#     scripts/cluster_emulation.sh --check          can this machine do it? Exit code 0, or 69 and the reason
#     scripts/cluster_emulation.sh --link HOST …    within COMMAND: changes a host's link (see below)
#
# Each host is a network namespace with a name (node1, node2 …), an address (10.77.0.1 …), a /dev/shm and one link to a common bridge. --rate is
# the bandwidth of each link, in either direction (tc's units: 100mbit, 2gbit; without it, what the machine does), --delay what each
# direction takes longer, where the kernel has netem. COMMAND finds in its environment what Open MPI needs, so that within it
#
#     mpirun --host node1:1,node2:1,node3:1,node4:1 kessoku train RUN.toml
#     kessoku launch --hosts node1,node2,node3,node4 --agent "$KESSOKU_CLUSTER_AGENT" RUN.toml
#
# work as on a cluster whose hosts share their files. $KESSOKU_CLUSTER_AGENT HOST COMMAND runs something on a host, as ssh would;
# $KESSOKU_CLUSTER_HOSTS is their list, with commas. What goes wrong on clusters can be made to go wrong, all of it from within COMMAND:
#
#     scripts/cluster_emulation.sh --link node3 rate 100mbit     another bandwidth (and delay: --link node3 rate 1gbit delay 1ms)
#     scripts/cluster_emulation.sh --link node3 down             the cable is pulled (up: put back)
#     ip netns pids node3 | xargs -r kill -9                     the host dies (what this machine runs elsewhere is not listed)
#
# Nothing is left behind, whatever ends it: all of it lives in namespaces of its own (mounts, processes, networks), which the kernel
# takes down with their last process, and their first process dies with this one. Needs root or unprivileged user namespaces.
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
network=10.77.0

fail() { printf 'cluster_emulation: %s\n' "$1" >&2; exit "${2:-64}"; }

# A new set of namespaces around a command, which ends with this shell; a user who is not root becomes root of it.
isolated=(setpriv --pdeathsig KILL unshare --mount --uts --net --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || isolated+=(--user --map-root-user)

# shape NAMESPACE DEVICE RATE DELAY: what leaves a device is limited; "" = not.
shape() {
  local place=root
  tc -n "$1" qdisc del dev "$2" root 2>/dev/null || true
  if [ -n "$4" ]; then
    tc -n "$1" qdisc add dev "$2" root handle 1: netem delay "$4" limit 100000 2>/dev/null ||
      fail "delay: the kernel has no netem (sch_netem)" 69
    place='parent 1:'
  fi
  # A queue that holds all that TCP has under way, as nothing is to be lost; bursts of a few of TCP's large segments.
  [ -z "$3" ] || tc -n "$1" qdisc add dev "$2" $place handle 2: tbf rate "$3" burst 256kb limit 64mb
}

link() {  # link HOST down|up|[rate R] [delay D]
  local host=$1 rate='' delay=''
  shift
  case ${1:-} in
    down | up) ip -n "$host" link set eth0 "$1"; return ;;
  esac
  while [ $# -ge 2 ]; do
    case $1 in
      rate) rate=$2 ;;
      delay) delay=$2 ;;
      *) fail "--link HOST down | up | rate R | rate R delay D" ;;
    esac
    shift 2
  done
  shape "$host" eth0 "$rate" "$delay"
  shape switch "$host" "$rate" "$delay"
}

make_host() {  # make_host NUMBER RATE DELAY
  local host=node$1
  mkdir -p -m 1777 "/run/shm/$host"
  ip netns add "$host"
  ip -n "$host" link set lo up
  ip link add dev "$host" netns switch type veth peer name eth0 netns "$host"
  ip -n switch link set "$host" master bridge up
  ip -n "$host" address add "$network.$1/24" dev eth0
  ip -n "$host" link set eth0 up
  # As clusters have it: a connection that was idle for a moment sends at full speed at once.
  ip netns exec "$host" sh -c 'cd /proc/sys/net/ipv4; echo 0 > tcp_slow_start_after_idle
    grep -qw cubic tcp_available_congestion_control && echo cubic > tcp_congestion_control ||
      echo reno > tcp_congestion_control' 2> /dev/null || true
  shape "$host" eth0 "$2" "$3"
  shape switch "$host" "$2" "$3"
}

# inside COUNT RATE DELAY COMMAND…: in the new namespaces; makes the hosts and runs the command on the first.
inside() {
  local count=$1 rate=$2 delay=$3 hosts=()
  shift 3
  mount --make-rprivate /
  mount -t tmpfs none /run  # namespaces' names, Open MPI's sessions
  mkdir /run/netns /run/openmpi
  ip netns add switch
  ip -n switch link add dev bridge type bridge
  ip -n switch link set dev bridge up
  echo "127.0.0.1 localhost" > /run/hosts
  for ((i = 1; i <= count; ++i)); do
    make_host "$i" "$rate" "$delay"
    hosts+=("node$i")
    echo "$network.$i node$i" >> /run/hosts
  done
  mount --bind /run/hosts /etc/hosts
  export KESSOKU_CLUSTER_HOSTS KESSOKU_CLUSTER_AGENT="$script --on"
  KESSOKU_CLUSTER_HOSTS=$(IFS=,; echo "${hosts[*]}")
  # Between hosts there is TCP alone, over the one link that each has.
  export OMPI_MCA_plm_rsh_agent=$KESSOKU_CLUSTER_AGENT OMPI_MCA_btl=tcp,self OMPI_MCA_btl_tcp_if_include=$network.0/24
  export OMPI_MCA_oob_tcp_if_include=$network.0/24 OMPI_MCA_plm_rsh_no_tree_spawn=1 OMPI_MCA_orte_tmpdir_base=/run/openmpi
  # The same for Open MPI 5.
  export PRTE_MCA_plm_ssh_agent=$KESSOKU_CLUSTER_AGENT PRTE_MCA_plm_ssh_no_tree_spawn=1
  export PRTE_MCA_oob_tcp_if_include=$network.0/24 PRTE_MCA_prte_tmpdir_base=/run/openmpi
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  passing_on_signals '$job' "$script" --become node1 "$@"
}

# passing_on_signals TARGET COMMAND…: runs it in the background, for a shell that waits takes signals, which go to TARGET (of $job, the
# command's process). Ends with its exit code.
passing_on_signals() {
  local target=$1 job status=0 signal
  shift
  env --default-signal=INT,QUIT "$@" <&0 &
  job=$!
  for signal in INT TERM HUP USR1; do trap "kill -$signal $target 2>/dev/null || true" "$signal"; done
  wait "$job" || status=$?
  while kill -0 "$job" 2>/dev/null; do  # a signal ended the wait
    status=0
    wait "$job" || status=$?
  done
  exit "$status"
}

become() {  # become HOST COMMAND…
  exec ip netns exec "$1" unshare --uts --mount --propagation private -- \
    sh -c 'mount --bind "/run/shm/$0" /dev/shm; hostname "$0"; exec "$@"' "$@"
}

check() {
  local reason tool
  for tool in unshare setpriv ip tc pgrep; do
    command -v "$tool" > /dev/null || fail "needs $tool (packages util-linux, iproute2, procps)" 69
  done
  reason=$("${isolated[@]}" sh -c 'mount -t tmpfs none /mnt && ip link add dev br0 type bridge && ip link add dev v0 type veth peer name v1 &&
    tc qdisc add dev v0 root tbf rate 1gbit burst 256kb latency 20ms' 2>&1) ||
    fail "namespaces, bridges or tbf are not permitted here: $(tail -n 1 <<< "$reason")" 69
}

case ${1:-} in
  --check) check; exit ;;
  --on) become "$2" sh -c "${*:3}" ;;  # the launch agent: words that a shell shall read, as ssh has it
  --become) become "${@:2}" ;;
  --link) shift; link "$@"; exit ;;
  --inside) shift; inside "$@" ;;
esac

count=4 rate='' delay=''
while [[ ${1:-} == --* ]]; do
  case $1 in
    --hosts) count=${2:?} ;;
    --rate) rate=${2:?} ;;
    --delay) delay=${2:?} ;;
    --help) sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "$script"; exit ;;
    *) fail "no option $1: see --help" ;;
  esac
  shift 2
done
[ $# -gt 0 ] || fail "which command? See --help"
[[ $count =~ ^[0-9]+$ && $count -ge 1 && $count -le 250 ]] || fail "--hosts $count: 1 to 250"
check
# Out of reach of the terminal's Ctrl-C, which would come twice: here, and passed on from here to the namespaces' first process.
passing_on_signals '$(pgrep -P $job)' setsid "${isolated[@]}" "$script" --inside "$count" "$rate" "$delay" "$@"
