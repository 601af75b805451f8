/** Files of the experiments' guest: what its programs are configured with, and two small programs in Perl. */

/** Seconds are floating-point in Perl's `select`. */
const heartbeatSeconds = 0.005;
const tickSeconds = 0.02;

/** Counts on the second serial port, a line each 5 ms. It stops with the guest, and so does its count. */
const heartbeat = `use strict;
open(my $port, '>', '/dev/ttyS1') or die;
for (my $count = 1; ; $count++) {
  syswrite($port, "$count\\n");
  select(undef, undef, undef, ${heartbeatSeconds});
}
`;

/**
 * Writes 512 random bytes to each of RATE pages a second, in order over a working set of MIB. What it could not do in
 * time it does later, a second's worth at most. The count of pages is in /tmp/dirtied.
 */
const dirtier = `use strict;
use Time::HiRes 'time';
my ($rate, $mib) = @ARGV;
my $pages = $mib * 256;
my $pool = join('', map { pack('L', rand(2**32)) } 1 .. 65536);
my $memory = $pool x ($mib * 4);
my ($page, $done, $owed, $last) = (0, 0, 0, time);
for (;;) {
  select(undef, undef, undef, ${tickSeconds});
  my $now = time;
  $owed += $rate * ($now - $last);
  $owed = $rate if $owed > $rate;
  $last = $now;
  for (; $owed >= 1; $owed--) {
    substr($memory, $page * 4096 + int(rand(3584)), 512) = substr($pool, int(rand(261632)), 512);
    $page = ($page + 1) % $pages;
    $done++;
  }
  open(my $count, '>', '/tmp/dirtied.new') or die;
  print $count $done;
  close($count);
  rename('/tmp/dirtied.new', '/tmp/dirtied');
}
`;

/** Small files of the system itself, and a page that counts requests. */
const nginx = `worker_processes 1;
user root root;
pid /tmp/nginx.pid;
error_log /tmp/nginx.error;
events { worker_connections 64; }
http {
  access_log /tmp/nginx.access;
  client_body_temp_path /tmp/nginx.body;
  proxy_temp_path /tmp/nginx.proxy;
  fastcgi_temp_path /tmp/nginx.fastcgi;
  uwsgi_temp_path /tmp/nginx.uwsgi;
  scgi_temp_path /tmp/nginx.scgi;
  server {
    listen 127.0.0.1:80;
    root /usr/share;
    location = /requests { stub_status; access_log off; }
  }
}
`;

/** Four connections, each of which asks for a file, chosen at random, and then waits. */
const wrk = `local paths = {}
for line in io.lines("/tmp/paths") do paths[#paths + 1] = line end
function request() return wrk.format("GET", paths[math.random(#paths)]) end
function delay() return 40 end
`;

/** By their paths below /scripts, from where the guest copies them into /tmp. */
export const loadScripts: Readonly<Record<string, string>> = {
  "heartbeat.pl": heartbeat,
  "dirtier.pl": dirtier,
  "nginx.conf": nginx,
  "wrk.lua": wrk,
};
