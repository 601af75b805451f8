/* Who has the VM: settling (cli/agent/settle.ts), claims of the agents, and what operators decide (recover.ts). */

/* A peer says that it has record r at epoch e. */
#define isSuperseded(s) (site[s].record == record_owned && \
  ((e > site[s].epoch && r != record_none) || (e == site[s].epoch && r == record_owned && s == 0)))

/* Whoever took the VM, a handover in doubt is over when there is a newer epoch. While the leg runs, its own end decides. */
#define isConceded(s) (site[s].state == in_doubt && site[s].leg == 0 && site[s].record == record_released && \
  r != record_none && e > site[s].epoch)

#ifdef MUTANT_SETTLES_WITHOUT_BRANCH
#define KEEPS_OTHER_STATE 0
#else
#define KEEPS_OTHER_STATE 1
#endif

/* The peer has the VM, with epoch e. A state that is no generation yet is kept before QEMU is ended. */
inline hand_over(isOther) {
  if
  :: isOther && my.kept < my.holds && my.qemu != qemu_none ->
    my.mustKeep = 1;
    write_record(me, record_away, e)
  :: else ->
    write_record(me, record_away, e);
    end_qemu(me)
  fi;
  src_go(in_doubt, handed_over);
  my.state = idle;
  my.leg = 0;
  my.asked = 0
}

/* A superseded VM is stopped at once; the rest follows step by step. */
inline compare_claims() {
  if
  :: isSuperseded(me) ->
#if FORCES == 0 && LOSSES == 0
    assert(false); /* P5 */
#endif
#ifndef MUTANT_IGNORES_CLAIMS
    my.above = e;
    my.mustRun = 0;
    if
    :: my.qemu != qemu_none -> my.qemu = qemu_held
    :: else
    fi
#endif
  :: isConceded(me) ->
#if FORCES == 0 && LOSSES == 0
    assert(false); /* P5 */
#endif
    hand_over(KEEPS_OTHER_STATE)
  :: my.record == record_away && my.state == idle && e > my.epoch && (r == record_owned || r == record_away) ->
    write_record(me, record_away, e)
  :: else
  fi
}

/* An operator forces this site: it owns the VM at an epoch that its peer does not have. */
inline force() {
  if
  :: my.record == record_released && my.qemu == qemu_post
  :: else ->
    end_qemu(me);
    my.qemu = qemu_loaded;
    my.holds = my.kept
  fi;
  write_record(me, record_owned, my.epoch + 2);
  my.mustRun = 1;
  if
  :: my.state == in_doubt -> src_go(in_doubt, taken_back); my.state = idle; my.asked = 0
  :: else
  fi;
  expect_claims(me, 1)
}

#define mayForce (my.up && (my.state == idle || (my.state == in_doubt && my.leg == 0)) && \
  my.record != record_owned && !my.mustKeep && (my.kept > 0 || (my.record == record_released && my.qemu == qemu_post)))

proctype ownership(byte me) {
end:
  do
  /* In doubt: asks until there is an answer. */
  :: d_step {
      my.up && my.state == in_doubt && !my.asked && site[peer].up && len(question[me]) < CHANNEL ->
#ifdef MUTANT_ASKS_ONCE
      my.state = idle;
#endif
      my.asked = 1;
      question[me] ! my.epoch
    }
  /* It cannot be asked now: the leg is over, and the agent asks on. */
  :: d_step { my.up && my.state == in_doubt && my.leg != 0 && !my.asked -> my.leg = 0 }
  /* The peer answers; a refusal is durable before it is told, and ends a leg that waits. */
  :: d_step {
#ifdef MUTANT_ANSWERS_BEFORE_CONT
      my.up && !my.inForce && len(question[peer]) > 0 ->
#else
      my.up && !isTaking(me) && len(question[peer]) > 0 ->
#endif
      question[peer] ? e;
      if
      :: my.refused >= e -> m = said_refused
      :: my.refused < e && my.epoch >= e && my.record != record_none -> m = said_owned
      :: else ->
        m = said_refused;
#ifndef MUTANT_REFUSES_WITHOUT_RECORD
        my.refused = e;
        if
        :: isArriving(me) && my.legEpoch <= e -> discard()
        :: else
        fi
#endif
      fi;
      if
      :: site[peer].asked && len(answer[peer]) == 0 -> answer[peer] ! m, e, my.epoch
      :: else
      fi
    }
  :: d_step {
      my.up && len(answer[me]) > 0 ->
      answer[me] ? m, e, p;
      my.asked = 0;
      if
      :: my.state == in_doubt && my.record == record_released && my.epoch == e ->
        if
        /* With a newer epoch it was forced since, and its VM may be an older one. */
        :: m == said_owned ->
          l = (p > e);
          e = p;
          hand_over(l && KEEPS_OTHER_STATE)
        :: m == said_refused ->
          write_record(me, record_owned, my.epoch + 1);
          src_go(in_doubt, taken_back);
          my.mustRun = (my.qemu == qemu_post);
          expect_claims(me, TAKEN_BACK_CLAIMS);
          my.state = idle;
          my.leg = 0
        fi
      :: else
      fi
    }

  /* `cont` of a VM that was taken back or forced. */
  :: d_step {
      my.up && my.mustRun && my.above == 0 ->
      my.mustRun = 0;
      if
      :: my.qemu == qemu_post || my.qemu == qemu_loaded -> let_run(me)
      :: else
      fi
    }
#ifndef MUTANT_LOOKS_ONCE
  /* An agent that found QEMU amid the end of a handover looks again. */
  :: d_step {
      my.up && my.state == idle && my.record == record_owned && !my.mustRun && my.above == 0 && my.qemu == qemu_post ->
      let_run(me)
    }
#endif

  /* `recover` without force: the owner's QEMU is gone, and the newest generation is here. */
  :: d_step {
      my.up && my.state == idle && my.record == record_owned && !my.mustRun && my.above == 0 && my.qemu == qemu_none &&
      my.kept >= committed ->
      let_run(me);
      my.holds = my.kept
    }

  /* `start`: a VM with empty memory, where no other site has it. */
  :: d_step {
      my.up && my.state == idle && my.record == record_none && my.refused == 0 && my.knows ->
      write_record(me, record_owned, 1); /* never */
      let_run(me) /* never */
    }

#if LOSSES > 0
  /* `recover --force`, the other site being gone for ever. */
  :: d_step { mayForce && site[peer].lost -> force() }
#endif
#if FORCES > 0
  /* `recover --force` though it is not. */
  :: d_step { mayForce && !site[peer].lost && forces < FORCES -> forces++; force() }
#endif

#if CLAIMS > 0
  /* On a new connection both sites tell what they know. */
  :: d_step {
      my.up && my.claimsDue && site[peer].up && len(claims[me]) == 0 && len(claimed[me]) == 0 ->
      expect_claims(me, 0);
      if
      :: isSourceLeg(me) -> claims[me] ! my.record, my.epoch, my.leg
      :: else -> claims[me] ! my.record, my.epoch, 0
      fi
    }
  :: d_step {
      my.up && len(claims[peer]) > 0 && !isSourceLeg(me) && !isTaking(me) && my.state != handed_over && my.above == 0 ->
      claims[peer] ? r, e, l;
      if
      :: isArriving(me) && my.leg != l -> discard()
      :: else
      fi;
      compare_claims();
      if
      :: site[peer].up && len(claimed[peer]) == 0 -> claimed[peer] ! my.record, my.epoch
      :: else
      fi
    }
  :: d_step {
      my.up && len(claimed[me]) > 0 && !isSourceLeg(me) && !isTaking(me) && my.state != handed_over && my.above == 0 ->
      claimed[me] ? r, e;
      compare_claims()
    }
#endif

#if FORCES > 0
  /* Superseded: recorded, then the newer state is kept as a branch, then its QEMU is ended. */
  :: d_step {
      my.up && my.above > 0 ->
      my.mustKeep = (my.qemu != qemu_none);
      write_record(me, record_away, my.above);
      my.above = 0
    }
  :: d_step {
      my.up && my.mustKeep ->
      my.branch = 1;
      my.mustKeep = 0;
      end_qemu(me)
    }
#endif
  od
}
