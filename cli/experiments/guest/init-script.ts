/**
 * The first program of the experiments' guest: a script for busybox that mounts the disk with the programs, starts the
 * heartbeat on the second serial port, and obeys commands from the first one (command-shell.ts).
 *
 *     ping                    nothing; fails if there is no heartbeat
 *     warm                    reads all files of the disk with the programs, so that they are in the page cache
 *     start WORKLOAD ARG…     begins one; answers when it works
 *     work                    what it has done since it began, in units of its own; 0 if there is none
 *     prepare                 makes PostgreSQL's database on the disk that moves, and unmounts it
 */

import { commandLoop, shellFunctions } from "./command-shell.ts";

/** Modules to load, in this order with what they need. */
export const guestModules = ["virtio_pci", "virtio_blk", "ext4"];

/** Serial number of the disk with the programs. The other disk, if there is one, is the one that moves. */
export const programDiskSerial = "programs";

/** Values of redis: numbers of twelve digits, drawn anew for each. */
const redisValue = "__rand_int__".repeat(42);

/** Text of `/init`. */
export const initScript = `#!/bin/busybox sh
set -f
# busybox finds its own programs through /proc.
/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty raw -echo
while read -r module; do insmod /modules/$module.ko; done </modules/list
data=
for disk in vda vdb; do
  [ -b /dev/$disk ] || continue
  if [ "$(cat /sys/block/$disk/serial)" = ${programDiskSerial} ]; then mount -t ext4 -o ro /dev/$disk /base
  else data=/dev/$disk
  fi
done
mount -t proc proc /base/proc
mount -t sysfs sysfs /base/sys
mount -t devtmpfs devtmpfs /base/dev
mkdir -p /base/dev/shm
mount -t tmpfs tmpfs /base/dev/shm
mount -t tmpfs tmpfs /base/run
mount -t tmpfs -o mode=1777 tmpfs /base/tmp
[ -z "$data" ] || mount -t ext4 $data /base/data
ip link set lo up
set +f
cp /scripts/* /base/tmp/
for folder in /base/usr/lib/postgresql/*/bin; do postgres=\${folder#/base}; done
set -f
export HOME=/tmp TMPDIR=/tmp LC_ALL=C

${shellFunctions}
in_base() { chroot /base "$@"; }
as_postgres() { in_base /usr/bin/setpriv --reuid=100 --regid=100 --clear-groups "$@"; }
redis() { in_base /usr/bin/redis-cli -s /tmp/redis.sock "$@"; }
sql() { as_postgres $postgres/psql -h /tmp -U postgres -Atq "$@"; }

# COMMAND…: waits until it succeeds, two minutes at most
until_it_works() {
  tries=0
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || return 1
    usleep 200000
  done
}

# Each time as many as have become due, of four seconds at most.
run_redis_load() {
  read_clock
  while :; do
    usleep 500000
    before=$now
    read_clock
    due=$(((now - before) * $2 / 100))
    [ $due -le $(($2 * 4)) ] || due=$(($2 * 4))
    in_base /usr/bin/redis-benchmark -s /tmp/redis.sock -q -c 4 -r $1 -n $due \\
      SET key:__rand_int__ ${redisValue} >/dev/null 2>&1 || return
  done
}

# KEYS SETS_A_SECOND
start_redis() {
  in_base /usr/bin/redis-server --port 0 --unixsocket /tmp/redis.sock --save '' --appendonly no --dir /tmp \\
    >/base/tmp/redis.log 2>&1 &
  until_it_works redis ping || return
  in_base /usr/bin/redis-benchmark -s /tmp/redis.sock -q -c 4 -P 32 -r $1 -n $(($1 * 2)) \\
    SET key:__rand_int__ ${redisValue} >/dev/null 2>&1 || return
  run_redis_load $1 $2 &
}

start_web() {
  find /base/usr/share -type f -size -64k | sed s,/base/usr/share,, | head -n 3000 >/base/tmp/paths
  in_base /usr/sbin/nginx -c /tmp/nginx.conf || return
  until_it_works wget -q -O /dev/null http://127.0.0.1/requests || return
  in_base /usr/bin/wrk -t 1 -c 4 -d 1000000 -s /tmp/wrk.lua http://127.0.0.1 >/base/tmp/wrk.log 2>&1 &
}

compile() {
  in_base /usr/bin/gcc -O2 -w -include /usr/include/stb/stb_$1.h -x c -c -o /tmp/$1.o /dev/null -DSTB_$2_IMPLEMENTATION
}

run_compiler() {
  while :; do
    for library in dxt:DXT sprintf:SPRINTF image_write:IMAGE_WRITE image_resize:IMAGE_RESIZE truetype:TRUETYPE \\
      image:IMAGE; do
      compile \${library%:*} \${library#*:} >/base/tmp/compile.log 2>&1 || return
      compiled=$((compiled + 1))
      echo $compiled >/base/tmp/compiled.new && mv /base/tmp/compiled.new /base/tmp/compiled
    done
  done
}

start_compile() {
  compile perlin PERLIN >/base/tmp/compile.log 2>&1 || return
  compiled=0
  echo 0 >/base/tmp/compiled
  run_compiler &
  compiler=$!
}

start_server() {
  as_postgres $postgres/postgres -D /data/db -k /tmp -c listen_addresses= -c shared_buffers=32MB -c jit=off \\
    >/base/tmp/postgres.log 2>&1 &
  server=$!
  until_it_works sql -c 'select 1'
}

# TRANSACTIONS_A_SECOND
start_postgres() {
  [ -n "$data" ] && start_server || return
  as_postgres $postgres/pgbench -h /tmp -U postgres -n -c 2 -R $1 -T 1000000 postgres >/base/tmp/pgbench.log 2>&1 &
}

# SCALE
prepare() {
  [ -n "$data" ] || return
  mkdir /base/data/db && chown 100:100 /base/data/db || return
  as_postgres $postgres/initdb -D /data/db -U postgres -A trust --no-sync >/base/tmp/initdb.log 2>&1 || return
  start_server || return
  as_postgres $postgres/pgbench -h /tmp -U postgres -i -q -s $1 postgres >/base/tmp/pgbench.log 2>&1 || return
  as_postgres $postgres/pg_ctl -D /data/db -w stop >/dev/null 2>&1 || return
  wait $server
  umount /base/data
}

# PAGES_A_SECOND MIB
start_dirtier() {
  in_base /usr/bin/perl /tmp/dirtier.pl $1 $2 >/base/tmp/dirtier.log 2>&1 &
  until_it_works test -s /base/tmp/dirtied
}

# What the logs say of a failure, as one line.
complaints() { tail -q -n 2 /base/tmp/*.log 2>/dev/null | tr '\\n' ' '; }

# Files so far, and hundredths of a second of the one that is being compiled.
work_of_compiler() {
  set +f
  running=$(cat /proc/[0-9]*/stat 2>/dev/null | awk '$2 == "(cc1)" { sum += $14 } END { print sum + 0 }')
  set -f
  read -r compiled </base/tmp/compiled
  echo $((compiled * 1000000 + running))
}

work_of() {
  case $1 in
    redis) redis info commandstats | sed -n 's/^cmdstat_set:calls=\\([0-9]*\\),.*/\\1/p' ;;
    web) wget -q -O - http://127.0.0.1/requests | awk 'NR == 3 { print $3 }' ;;
    compile) kill -0 $compiler && work_of_compiler ;;
    postgres) sql -c "select xact_commit from pg_stat_database where datname = 'postgres'" ;;
    dirtier) cat /base/tmp/dirtied ;;
    *) echo 0 ;;
  esac
}

do_command() {
  command=$1
  shift
  case $command in
    ping) kill -0 $heart 2>/dev/null || fail 'its heartbeat does not run' ;;
    warm) find /base -xdev -type f -exec cat {} + >/dev/null ;;
    start)
      workload=$1
      shift
      case $workload in
        idle) ;;
        redis | web | compile | postgres | dirtier) start_$workload "$@" ;;
        *) false ;;
      esac
      ;;
    work) answer=$(work_of $workload) && [ -n "$answer" ] ;;
    prepare) prepare "$@" ;;
    *) fail "unknown command $command" ;;
  esac
}

stty raw -echo </dev/ttyS1
in_base /usr/bin/chrt -f 50 /usr/bin/perl /tmp/heartbeat.pl &
heart=$!
workload=idle
obey() {
  do_command "$@" && return
  set +f
  [ -n "$answer" ] || answer=$(complaints)
  set -f
  return 1
}
${commandLoop}`;
