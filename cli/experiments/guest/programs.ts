/** What the Linux guest of the experiments is made from, beside a kernel and busybox: Debian packages. */

/** Unpacked with all that they depend on, so that they run. */
export const programPackages = [
  ...["redis-server", "redis-tools", "nginx-light", "wrk"],
  ...["gcc", "libc6-dev", "libstb-dev"],
  ...["postgresql", "postgresql-contrib"],
  ...["perl", "util-linux", "dash"],
  // For their content alone: what a guest of 1 GiB reads until its page cache is full must not repeat itself.
  ...["default-jre-headless", "libboost-dev"],
];

/** Files that are made when Debian's packages are installed, and that programs look for. */
export const systemFiles: Readonly<Record<string, string>> = {
  "etc/passwd": "root:x:0:0:root:/tmp:/bin/sh\npostgres:x:100:100:postgres:/tmp:/bin/sh\n",
  "etc/group": "root:x:0:\npostgres:x:100:\n",
  "etc/hosts": "127.0.0.1 localhost\n",
};

/** Where the guest mounts something, since its root is read-only. */
export const mountPoints = ["data", "dev", "proc", "run", "sys", "tmp"];
