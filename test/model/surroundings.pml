/* What surrounds the agents: QEMU, the network, hosts on which agents die and start again, and the end of a run. */

/* Alive while the agent that migrates the VM holds the socket. */
#define isSocketOpen(s) (site[s].up && isSourceLeg(s))

/* A process of its own. */
proctype qemuProcess(byte me) {
end:
  do
  /* The socket closes while the return path is open: the migration fails, the VM runs on. */
  :: d_step { my.qemu == qemu_stopped && !isSocketOpen(me) -> let_run(me) }
  /* SHUT 0 is in the socket: QEMU reads it, also after the agent's death. */
  :: d_step { my.qemu == qemu_shut -> my.qemu = qemu_post }
  /* Or it sees first that the socket is closed. */
  :: d_step { my.qemu == qemu_shut && !isSocketOpen(me) -> let_run(me) }
#if QEMU_CRASHES > 0
  :: d_step {
      my.qemu != qemu_none && my.qemuCrashes < QEMU_CRASHES ->
      my.qemuCrashes++;
      my.qemu = qemu_none;
      my.holds = 0;
      my.hasRun = 0;
      qemuCrashed = 1;
      hold_copies() /* P2 */
    }
#endif
  od
}

/* Both of a site's connections are lost; the site learns it. */
inline cut(s) {
  cuts++;
  if
  :: conn[s] == conn_up -> conn[s] = conn_lost
  :: else
  fi;
  resuming[s] = 0;
  site[1 - s].attached = 0;
  if
  :: site[s].asked && len(answer[s]) == 0 ->
    site[s].asked = 0;
    /* The leg is over; its agent asks on. */
    site[s].leg = 0
  :: else
  fi
}

#define isCuttable(s) (cuts < CUTS && (conn[s] == conn_up || site[s].asked))

/* Within a connection order is kept and nothing comes twice. What a lost one has under way is lost, or comes late. */
proctype network() {
end:
  do
  :: d_step { isCuttable(0) -> cut(0); expect_claims(0, 1 )}
  :: d_step { isCuttable(1) -> cut(1); expect_claims(1, 1 )}
  :: d_step { conn[0] != conn_up && len(toListener[0]) > 0 -> toListener[0] ? m, l, e }
  :: d_step { conn[1] != conn_up && len(toListener[1]) > 0 -> toListener[1] ? m, l, e }
  :: d_step { conn[0] != conn_up && len(toListener[0]) > 0 && len(late[1]) == 0 -> toListener[0] ? m, l, e; late[1] ! m, l, e }
  :: d_step { conn[1] != conn_up && len(toListener[1]) > 0 && len(late[0]) == 0 -> toListener[1] ? m, l, e; late[0] ! m, l, e }
  :: d_step { conn[0] != conn_up && len(toDialler[0]) > 0 -> toDialler[0] ? m, l, e }
  :: d_step { conn[1] != conn_up && len(toDialler[1]) > 0 -> toDialler[1] ? m, l, e }
  :: d_step { len(late[0]) > 0 -> late[0] ? m, l, e }
  :: d_step { len(late[1]) > 0 -> late[1] ? m, l, e }
  :: d_step { !site[0].asked && len(question[0]) > 0 -> question[0] ? e }
  :: d_step { !site[1].asked && len(question[1]) > 0 -> question[1] ? e }
  od
}

/* kill -9 of the agent. What was on its way to it is lost; what it has sent may arrive. */
inline end_agent(s) {
  site[s].up = 0;
  site[s].state = idle;
  site[s].leg = 0;
  site[s].legEpoch = 0;
  site[s].attached = 0;
  site[s].inForce = 0;
  site[s].ran = 0;
  site[s].asked = 0;
  site[s].above = 0;
  site[s].mustRun = 0;
  expect_claims(s, 0);
  conn[s] = conn_none;
  resuming[s] = 0;
  site[1 - s].attached = 0;
  if
  :: conn[1 - s] == conn_up -> conn[1 - s] = conn_lost; resuming[1 - s] = 0
  :: else
  fi;
  clear(toDialler[s]);
  clear(toListener[1 - s]);
  clear(late[s]);
  clear(answer[s]);
  do
  :: len(question[1 - s]) > 0 -> question[1 - s] ? e
  :: else -> break
  od;
  if
  :: site[1 - s].asked && len(answer[1 - s]) == 0 ->
    site[1 - s].asked = 0;
    site[1 - s].leg = 0
  :: else
  fi;
  /* Claims are told again on the next connection. */
  if
  :: len(claims[1 - s]) > 0 -> claims[1 - s] ? r, e, l
  :: else
  fi;
  if
  :: len(claims[s]) > 0 -> claims[s] ? r, e, l
  :: else
  fi;
  if
  :: len(claimed[s]) > 0 -> claimed[s] ? r, e
  :: else
  fi;
  expect_claims(1 - s, site[1 - s].up)
}

/* The machine that an agent runs on. */
proctype host(byte me) {
end:
  do
  :: d_step { my.up && my.crashes < CRASHES -> my.crashes++; end_agent(me) }
  /* An agent that starts: findOne in cli/agent/lifecycle.ts. */
  :: d_step {
      !my.up && !my.lost ->
      my.up = 1;
      expect_claims(me, 1);
      if
#ifdef MUTANT_FORGETS_BRANCH
      :: my.record == record_none || my.record == record_away ->
        my.mustKeep = 0;
#else
      :: my.record == record_none || (my.record == record_away && !my.mustKeep) ->
#endif
        if
        :: my.qemu == qemu_incoming || my.qemu == qemu_loaded -> kill_arriving(me)
        :: else -> end_qemu(me)
        fi
      :: my.record == record_released -> my.state = in_doubt
      :: my.record == record_owned && (my.qemu == qemu_post || my.qemu == qemu_loaded || my.qemu == qemu_held) ->
        let_run(me)
      :: else
      fi
    }
#if LOSSES > 0
  /* The site is destroyed, with all that is retained there. */
  :: d_step {
      !my.lost && losses < LOSSES ->
      losses++;
      end_agent(me);
      my.lost = 1;
      my.qemu = qemu_none;
      my.hasRun = 0;
      my.holds = 0;
      my.kept = 0;
      clear(toListener[me]);
      clear(late[peer]);
      my.record = record_none
    }
#endif
  od
}

#define runs(s) (site[s].qemu == qemu_runs)
#define runsOnce ((runs(0) && !runs(1)) || (runs(1) && !runs(0)))
/* The owner's QEMU died, and the newest generation is at the other site: `recover --force` there is an operator's decision. */
#define isDown(s) (site[s].record == record_owned && site[s].qemu == qemu_none && site[s].state == idle && \
  site[s].kept < committed)
#define isOperatorNeeded (qemuCrashed && !runs(0) && !runs(1) && isRestartable(committed) && (isDown(0) || isDown(1)))

/* Where nothing is left to do, the VM runs at one site, or an operator can let it run. */
proctype closing() {
  timeout ->
#if LOSSES > 0
  assert(runsOnce || isOperatorNeeded || (site[0].lost && site[1].kept == 0) || (site[1].lost && site[0].kept == 0)) /* P3 */
#elif FORCES > 0
  assert(runsOnce); /* P1 */
  assert(site[0].record != record_released && site[1].record != record_released); /* P3 */
  assert(site[0].record != record_owned || site[1].record != record_owned) /* P1 */
#else
  assert(runsOnce || isOperatorNeeded); /* P3 */
  assert(mayRun(0) != mayRun(1)) /* P3 */
#endif
}
