/**
 * The first and only program of the Linux guest: a script for busybox that mounts the disk and obeys commands
 * from the serial port (command-shell.ts has how).
 *
 *     ping                  nothing                     boot           the kernel's id of this boot
 *     write NAME KIB SEED   writes a file, and syncs    sum NAME       its SHA-256, read from the disk
 *     delete NAME           removes a file, and syncs   trim           fstrim; how much was trimmed
 *     umount, mount         of the file system          free           KiB that are free in it
 *     uptime                seconds since boot          tick           how often it was asked since boot
 *     load KIBPERSEC KIB    rewrites blocks of a file of KIB at about that rate, in the background; after every
 *                           fifth of a second or so all is on the disk, and then a counter in a journal too
 *     unload                ends that; the last counter
 *     count                 the last counter in the journal, as read from the disk; fails if the journal has a
 *                           gap, or has lost a counter that the disk had confirmed
 */

import { commandLoop, shellFunctions } from "../../cli/experiments/guest/command-shell.ts";
import { POOL_BYTES, SEED_STEP_BYTES } from "./linux-guest-content.ts";

/** Modules to load, by the beginning of the disk's name in the guest: virtio-blk is vd…, virtio-scsi is sd…. */
export const MODULES_BY_DISK = {
  vd: ["virtio_pci", "virtio_blk", "ext4"],
  sd: ["virtio_pci", "virtio_scsi", "sd_mod", "ext4"],
};

/** Text of `/init`. */
export const INIT_SCRIPT = `#!/bin/busybox sh
set -f
# busybox finds its own programs through /proc.
/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

disk=vda
for word in $(cat /proc/cmdline); do
  case $word in bfmig.disk=*) disk=\${word#*=} ;; esac
done
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty raw -echo

while read -r module; do insmod /modules/$module.ko; done </modules/\${disk%[a-z]}.list
# A SCSI disk is found some time after its driver is loaded.
echo "waiting for /dev/$disk"
until [ -b /dev/$disk ]; do usleep 10000; done

${shellFunctions}
mount_disk() { mount -t ext4 /dev/$disk /mnt; }

drop_caches() { sync && echo 3 >/proc/sys/vm/drop_caches; }

# NAME KIB SEED
write_file() {
  offset=$(($3 * ${SEED_STEP_BYTES} % ${POOL_BYTES}))
  {
    dd if=/pool bs=64k iflag=skip_bytes skip=$offset status=none
    while cat /pool; do :; done
  } 2>/dev/null | dd of=/mnt/$1 bs=64k iflag=fullblock,count_bytes count=$(($2 * 1024)) status=none && sync
}

# Sets counted to the last counter in the journal; fails if the lines are not 1, 2, 3 …
read_journal() {
  counted=$(awk '$0 != NR { bad = 1 } END { if (bad) exit 1; print NR }' /mnt/journal)
}

# KIBPERSEC KIB
load_in_background() {
  blocks=$(($2 / 4)) next=0 owed=0 counter=$counted
  read_clock
  while [ -e /run/loading ]; do
    usleep 200000
    before=$now
    read_clock
    owed=$((owed + $1 * (now - before)))
    [ $owed -le $((blocks * 400)) ] || owed=$((blocks * 400))
    while [ $owed -ge 400 ]; do
      count=$((owed / 400))
      [ $count -le 128 ] || count=128
      [ $count -le $((blocks - next)) ] || count=$((blocks - next))
      counter=$((counter + 1))
      dd if=/pool bs=4k iflag=skip_bytes skip=$((counter * ${SEED_STEP_BYTES} % ${POOL_BYTES >> 1})) count=$count \\
        of=/mnt/load seek=$next conv=notrunc,fsync status=none || exit 1
      echo $counter | dd of=/mnt/journal oflag=append conv=notrunc,fsync status=none || exit 1
      echo $counter >/run/counter.new && mv /run/counter.new /run/counter
      next=$(((next + count) % blocks)) owed=$((owed - count * 400))
    done
  done
}

# Does a command and sets answer; fails with the reason as the answer.
obey() {
  command=$1
  shift
  case $command in
    ping | boot | uptime | tick | mount) ;;
    # Else the initial RAM file system would be written to.
    *) grep -q ' /mnt ' /proc/mounts || fail "the disk is not mounted$trouble" || return ;;
  esac
  case $command in
    ping) ;;
    boot) answer=$(cat /proc/sys/kernel/random/boot_id) ;;
    uptime) read -r answer rest </proc/uptime ;;
    tick) ticks=$((ticks + 1)) answer=$ticks ;;
    write) answer=$(write_file "$@" 2>&1) ;;
    sum) drop_caches && answer=$(sha256sum "/mnt/$1" 2>&1) && answer=\${answer%% *} ;;
    delete) answer=$(rm "/mnt/$1" 2>&1) && sync ;;
    trim) sync && answer=$(fstrim -v /mnt 2>&1) ;;
    free) set -- $(stat -f -c '%f %S' /mnt) && answer=$(($1 * $2 / 1024)) ;;
    umount) trouble= answer=$(umount /mnt 2>&1) ;;
    mount) answer=$(mount_disk 2>&1) ;;
    load)
      [ ! -e /run/loading ] || fail 'a load runs already' || return
      answer=$(write_file load $2 0 2>&1) && touch /mnt/journal && read_journal || return
      echo $counted >/run/counter
      : >/run/loading
      load_in_background "$@" &
      loader=$! answer=
      ;;
    unload)
      rm /run/loading && wait $loader || fail 'no load runs, or it has failed' || return
      answer=$(cat /run/counter)
      ;;
    count)
      confirmed=0
      [ ! -e /run/counter ] || read -r confirmed </run/counter
      drop_caches && read_journal || fail 'the journal cannot be read or has a gap' || return
      [ $counted -ge $confirmed ] || fail "the journal ends at $counted, $confirmed was confirmed" || return
      answer=$counted
      ;;
    *) fail "unknown command $command" ;;
  esac
}

trouble=$(mount_disk 2>&1) || trouble=": $trouble"
ticks=0
${commandLoop}`;
