/* A leg out of a site: cli/leg/source-leg.ts over cli/leg/source-link.ts. */

/* On the connection if it is up; else `resume` sends it again. */
inline send(type) {
  if
  :: conn[me] == conn_up && !resuming[me] ->
    assert(len(toListener[me]) < CHANNEL);
    toListener[me] ! type, my.leg, my.legEpoch
  :: else
  fi
}

inline close_connection() {
  conn[me] = conn_none;
  resuming[me] = 0;
  site[peer].attached = 0
}

inline leave_leg() {
  close_connection();
  my.state = idle;
  my.leg = 0;
  my.legEpoch = 0
}

#define isFree (len(toListener[me]) == 0 && len(toDialler[me]) == 0)

proctype source(byte me) {
end:
  do
  /* An operator's migrate. */
  :: d_step {
      my.up && my.state == idle && my.record == record_owned && my.qemu == qemu_runs && my.above == 0 &&
      legs < LEGS && my.epoch < EPOCHS && site[peer].up && isFree ->
      legs++;
      my.leg = legs;
      my.legEpoch = my.epoch + 1;
      my.ran = 0;
      my.state = negotiating;
      conn[me] = conn_up;
      send(m_prepare)
    }

  /* What the peer says. */
  :: d_step {
      my.up && len(toDialler[me]) > 0 ->
      toDialler[me] ? m, l, p;
      if
      :: !isSourceLeg(me) || l != my.leg
      :: else ->
        if
        :: m == m_offer && my.state == negotiating ->
          src_go(negotiating, rounds);
          send(m_begin)
        :: m == m_prepared && my.state == finishing && my.qemu == qemu_stopped ->
          src_go(finishing, completing);
#ifdef MUTANT_RELEASED_BEFORE_SHUT
          write_record(me, record_released, my.legEpoch);
          my.state = released;
          send(m_commit)
#else
          my.qemu = qemu_shut
#endif
        :: m == m_running && my.state == released ->
          write_record(me, record_away, my.epoch);
          src_go(released, handed_over);
          close_connection()
        :: m == m_resumed && resuming[me] ->
          resuming[me] = 0;
          if
          :: p == 0 && my.state == negotiating -> send(m_prepare)
#ifdef MUTANT_RECONNECTS_FOR_EVER
          :: p == 0 && my.state != negotiating -> conn[me] = conn_lost
#else
          :: p == 0 && my.state != negotiating -> conn[me] = conn_none
#endif
          :: p == 1 && my.state != negotiating ->
            send(m_begin);
            if
            :: my.state == finishing -> send(m_finish)
            :: else
            fi
          :: p == 2 && my.state == finishing -> send(m_finish)
          /* Also if it is there already: a message may come twice. */
          :: p >= 3 && my.state == released -> send(m_commit)
          :: else
          fi
        :: else
        fi
      fi
    }

  /* The switchover: QEMU stops the VM. */
  :: d_step {
      my.up && my.state == rounds && my.qemu == qemu_runs ->
      src_go(rounds, stopped);
      my.qemu = qemu_stopped;
      my.holds = my.legEpoch;
      my.hasRun = 0;
      stoppedAt = my.legEpoch
    }
  :: d_step {
      my.up && my.state == stopped && my.qemu == qemu_stopped ->
      src_go(stopped, finishing);
      send(m_finish)
    }

  /* QEMU has let the VM go, its return path is not open any more: RELEASED is durable, then COMMIT. */
#ifdef MUTANT_COMMIT_BEFORE_RELEASED
  :: d_step {
      my.up && my.state == completing && my.qemu == qemu_post && conn[me] == conn_up && !resuming[me] &&
      len(toListener[me]) == 0 ->
      send(m_commit)
    }
#endif
  :: d_step {
      my.up && my.state == completing && my.qemu == qemu_post ->
      write_record(me, record_released, my.legEpoch);
      src_go(completing, released);
      assert(my.qemu != qemu_stopped && my.qemu != qemu_shut); /* P4 */
      send(m_commit)
    }

  /* The peer does not confirm in time, or says that it could not: only `settle` tells. The own copy is completed. */
  :: d_step {
      my.up && my.state == released ->
#ifdef MUTANT_TAKES_BACK_ON_TIMEOUT
      write_record(me, record_owned, my.epoch + 1);
      my.state = idle;
#else
      src_go(released, in_doubt);
      my.kept = my.legEpoch;
#endif
      close_connection();
      my.legEpoch = 0
    }

  /* The VM is there: the own copy is completed, then QEMU ended. */
  :: d_step {
      my.up && my.state == handed_over ->
      my.kept = my.legEpoch;
      end_qemu(me);
      leave_leg()
    }

  /* Before RELEASED a leg may be given up at any time. QEMU resumes the VM by itself when its socket closes. */
  :: d_step { my.up && my.state == negotiating -> src_go(negotiating, aborted); leave_leg() }
  :: d_step { my.up && my.state == rounds -> src_go(rounds, aborted); leave_leg() }
  :: d_step { my.up && my.state == stopped -> src_go(stopped, aborted); leave_leg() }
  :: d_step { my.up && my.state == finishing -> src_go(finishing, aborted); leave_leg() }
  /* After SHUT 0 only `cont` does, once QEMU is in postmigrate. */
  :: d_step {
      my.up && my.state == completing && my.qemu != qemu_shut ->
      src_go(completing, aborted);
      if
      :: my.qemu == qemu_post -> let_run(me)
      :: else
      fi;
      leave_leg()
    }

  /* The link was lost and is there again. */
  :: d_step {
      my.up && isSourceLeg(me) && conn[me] == conn_lost && site[peer].up && isFree ->
      conn[me] = conn_up;
      resuming[me] = 1;
      toListener[me] ! m_resume, my.leg, 0
    }
  od
}
