/**
 * How a guest obeys commands from its serial port: parts of a script for busybox, whose own part is a function `obey` that
 * does a command, given as its arguments, sets `answer`, and fails if it cannot.
 *
 *     host → guest:  "@" id " " command " ;" LF        the semicolon shows that the line is whole
 *     guest → host:  LF "@" id (" OK " | " ERR ") text LF
 *                    LF "BFMIG READY" LF               once, when commands are obeyed
 *
 * Lines of another form are ignored. A command with the id of the one before is not done again, only answered
 * again: so the host may repeat itself when it does not know whether a command or its answer got lost.
 */

/** A function that fails with its argument as the answer, and one for the time. */
export const shellFunctions = `fail() {
  answer=$1
  return 1
}

# Sets now to hundredths of a second since boot.
read_clock() {
  read -r now rest </proc/uptime
  now=$((\${now%.*} * 100 + 1\${now#*.} - 100))
}
`;

/** What comes last: it does not end. The serial port is its standard input and output. */
export const commandLoop = `last=
echo
echo 'BFMIG READY'
while :; do
  # Fails if the serial port is hung up: the guest must not end.
  read -r line || { usleep 100000; continue; }
  case $line in '@'*' ;') ;; *) continue ;; esac
  set -- \${line% ;}
  id=$1
  shift
  if [ "$id" != "$last" ]; then
    answer= last=$id
    if obey "$@"; then result=OK; else result=ERR; fi
  fi
  echo
  echo $id $result $answer
done
`;
