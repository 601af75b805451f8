/* A leg into a site: cli/leg/destination-leg.ts over cli/leg/destination-link.ts. */

/* On the leg's connection, if it has one. */
inline reply(type, value) {
  if
  :: my.attached && conn[peer] == conn_up ->
    assert(len(toDialler[peer]) < CHANNEL);
    toDialler[peer] ! type, my.leg, value
  :: else
  fi
}

inline leave_arrival() {
  my.state = idle;
  my.leg = 0;
  my.legEpoch = 0;
  my.attached = 0
}

/* Leaves nothing behind. */
inline discard() {
  if
  :: my.state == offered -> dst_go(offered, discarded)
  :: my.state == receiving -> dst_go(receiving, discarded)
  :: my.state == loading -> dst_go(loading, discarded)
  :: my.state == prepared -> dst_go(prepared, discarded)
  fi;
  kill_arriving(me);
  /* Nothing was ever here: the definition is forgotten too. */
  if
  :: my.record == record_none && my.refused == 0 && my.kept == 0 -> my.knows = 0
  :: else
  fi;
  leave_arrival()
}

/* `resumed` tells how many messages of the leg are here; what the source may have missed is sent again. */
inline resume_leg() {
  my.attached = 1;
  /* From now on nothing counts that the old connection still brings. */
  clear(late[me]);
  if
  :: my.state == offered -> reply(m_resumed, 1); reply(m_offer, 0)
  :: my.state == receiving -> reply(m_resumed, 2)
  :: my.state == loading -> reply(m_resumed, 3)
  :: my.state == prepared -> reply(m_resumed, 3); reply(m_prepared, 0)
  :: my.ran -> reply(m_resumed, 4); reply(m_running, 0)
  fi
}

/* One message: m of leg l with epoch e. */
inline take_message(isLate) {
  if
  :: m == m_prepare ->
    /* The peer has given up the leg before. */
    if
    :: isArriving(me) -> discard()
    :: else
    fi;
    if
    :: my.state == idle && (my.record == record_none || my.record == record_away) && my.mustKeep == 0 &&
       e > my.epoch && e > my.refused ->
      kill_arriving(me);
      my.knows = 1;
#ifndef MUTANT_STARTS_WHAT_ARRIVED
      /* From now on it is known here that another site has the VM, also after a crash. */
      if
      :: my.record == record_none -> write_record(me, record_away, e - 1)
      :: else
      fi;
#endif
      my.state = offered;
      my.leg = l;
      my.legEpoch = e;
      my.ran = 0;
      my.attached = (!isLate && conn[peer] == conn_up);
      reply(m_offer, 0)
    :: else
    fi
  :: m == m_resume && !isLate && conn[peer] == conn_up ->
    if
    :: l == my.leg && (isArriving(me) || my.ran) -> resume_leg()
    :: else -> toDialler[peer] ! m_resumed, l, 0
    fi
  /* On a connection that is gone: the leg lets go of the one that it has. */
  :: m == m_resume && isLate && l == my.leg && my.attached ->
    my.attached = 0;
    if
    :: conn[peer] == conn_up -> conn[peer] = conn_lost; resuming[peer] = 0
    :: else
    fi
  :: m == m_begin && my.state == offered && l == my.leg ->
    dst_go(offered, receiving);
    my.qemu = qemu_incoming
  :: m == m_finish && my.state == receiving && l == my.leg ->
    dst_go(receiving, loading)
  :: m == m_commit && my.state == prepared && l == my.leg ->
    if
    :: e > my.epoch && e > my.refused ->
      my.inForce = 1;
      my.kept = e;
      hold_copies() /* P2 */
    :: else -> discard()
    fi
  /* What came before, or belongs to a leg that is over. */
  :: else
  fi
}

proctype destination(byte me) {
end:
  do
  /* The leg's messages are handled one after the other: none while COMMIT is carried out. */
  :: d_step {
      my.up && !isTaking(me) && len(toListener[peer]) > 0 ->
      toListener[peer] ? m, l, e;
      take_message(0)
    }
  :: d_step {
      my.up && !isTaking(me) && len(late[me]) > 0 ->
      late[me] ? m, l, e;
      take_message(1)
    }

  /* QEMU has loaded everything, all files are durable. */
  :: d_step {
      my.up && my.state == loading && my.qemu == qemu_incoming ->
      dst_go(loading, prepared);
      my.qemu = qemu_loaded;
      my.holds = my.legEpoch;
      reply(m_prepared, 0)
    }

  /* COMMIT was taken, and the generation has its number: OWNED is durable, then the VM runs. */
#ifdef MUTANT_RUNS_BEFORE_OWNED
  :: d_step {
      my.up && my.inForce && my.qemu == qemu_loaded ->
      let_run(me)
    }
#endif
  :: d_step {
      my.up && my.inForce ->
      write_record(me, record_owned, my.legEpoch);
      dst_go(prepared, owned);
      my.inForce = 0;
      committed = my.legEpoch
    }
  :: d_step {
      my.up && my.state == owned && my.qemu == qemu_loaded ->
      let_run(me);
      dst_go(owned, running);
      reply(m_running, 0);
      my.state = idle;
      my.ran = 1
    }
  /* `cont` fails: given back, durably. The generation stays: the source may have lost its own copy meanwhile. */
  :: d_step {
      my.up && my.state == owned && (my.qemu == qemu_none || contFailures < CONT_FAILURES) ->
      if
      :: my.qemu != qemu_none -> contFailures++
      :: else
      fi;
      my.qemu = qemu_none;
      my.holds = 0;
      my.hasRun = 0;
      my.refused = my.legEpoch;
#ifdef MUTANT_GIVES_BACK_WITH_ITS_COPY
      my.kept = 0;
#endif
      write_record(me, record_none, my.epoch);
      dst_go(owned, returned);
      leave_arrival()
    }

  /* Before COMMIT anything may end the leg: its source stays away, QEMU dies, the disk is full. */
  :: d_step { my.up && isArriving(me) -> discard() }
  od
}
