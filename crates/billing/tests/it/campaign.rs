//! Campaigns: time that stands still while anything pauses them, and leads that meet each piece of work exactly once.

use std::time::Instant;

use billing::Time;
use billing::campaign::{
    Channel, Facts, Finish, Next, Plan, Position, Reason, Run, Stage, Step, advance, begin, next,
};

use crate::chance::{Chance, asked_for};

const DAY: i64 = 86_400_000_000;
const REASONS: [Reason; 4] = [Reason::OutOfCredits, Reason::Person, Reason::CreditCap, Reason::Provider];

#[test]
fn running_time_is_the_sum_of_the_unpaused_stretches() {
    let (count, first) = (asked_for("SCRIP_WALKS", 2_000), asked_for("SCRIP_SEED", 20_270_131));
    let started = Instant::now();
    for seed in first..first + count {
        let mut chance = Chance::new(seed);
        let (mut run, mut now, mut ran) = (Run::draft(), 0, 0);
        let (mut stage, mut reasons): (Stage, Vec<Reason>) = (Stage::Draft, Vec::new());
        for _ in 0..60 {
            let passed = chance.within(0, 3 * DAY);
            now += passed;
            ran += if stage == Stage::Launched && reasons.is_empty() { passed } else { 0 };
            assert_eq!(run.running_time(Time(now)), ran, "seed {seed}");
            let reason = chance.pick(&REASONS).expect("four");
            match chance.within(0, 40) {
                0..=5 => {
                    assert_eq!(run.launch(Time(now)), stage == Stage::Draft, "seed {seed}");
                    stage = if stage == Stage::Draft { Stage::Launched } else { stage };
                }
                6..=22 => {
                    let new = stage == Stage::Launched && !reasons.contains(&reason);
                    assert_eq!(run.pause(reason, Time(now)), new, "seed {seed}");
                    reasons.extend(new.then_some(reason));
                }
                23..=39 => {
                    assert_eq!(run.lift(reason, Time(now)), reasons.contains(&reason), "seed {seed}");
                    reasons.retain(|there| *there != reason);
                }
                _ => {
                    run.end(Stage::Canceled, Time(now));
                    (stage, reasons) = (Stage::Canceled, Vec::new());
                }
            }
        }
    }
    println!("campaigns: seed {first}, {count} lives of 60 events, {:?}", started.elapsed());
}

#[test]
fn two_days_left_stay_two_days_and_money_lifts_no_person() {
    let mut run = Run::draft();
    let plan = Plan { enrich: Vec::new(), steps: vec![step(3)], ..Plan::default() };
    run.launch(Time(0));
    let (_, due) = begin(&plan, run.running_time(Time(0)));
    run.pause(Reason::OutOfCredits, Time(DAY));
    run.pause(Reason::Person, Time(2 * DAY));
    run.lift(Reason::OutOfCredits, Time(5 * DAY));
    assert!(run.running_since.is_none(), "the person's pause still holds");
    run.lift(Reason::Person, Time(9 * DAY));
    assert_eq!(run.running_time(Time(9 * DAY)), DAY);
    assert!(Some(run.running_time(Time(11 * DAY - 1))) < due, "not a moment early");
    assert_eq!(Some(run.running_time(Time(11 * DAY))), due);
}

#[test]
fn a_lead_meets_each_piece_once_and_in_order() {
    let (count, first) = (asked_for("SCRIP_WALKS", 2_000), asked_for("SCRIP_SEED", 20_270_131));
    for seed in first..first + count {
        let mut chance = Chance::new(seed);
        let plan = random_plan(&mut chance);
        let (mut position, mut due) = begin(&plan, 0);
        let (mut met, mut expected_due) = (Vec::new(), 0);
        if plan.enrich.is_empty() {
            expected_due = plan.steps.first().map_or(0, |step| step.after_days * DAY);
        }
        while let Some(at) = due {
            assert_eq!(at, expected_due, "seed {seed}");
            let done = at + chance.within(0, DAY);
            met.push(do_one(&plan, position, &mut chance));
            (position, due) = advance(&plan, position, done);
            let following = met.len().checked_sub(plan.enrich.len()).and_then(|index| plan.steps.get(index));
            expected_due = done + following.map_or(0, |step| step.after_days * DAY);
        }
        let fields = (0..plan.enrich.len()).map(Position::Enrich);
        let steps = (0..plan.steps.len()).map(Position::Step);
        assert_eq!(met, fields.chain(steps).collect::<Vec<_>>(), "seed {seed}");
        let end = next(&plan, position, Facts::default());
        assert_eq!(end, Next::Finish(Finish::Completed), "seed {seed}");
    }
}

/// Does the piece of work a lead is at, and says which it was. Writing comes before sending and moves nobody on.
fn do_one(plan: &Plan, position: Position, chance: &mut Chance) -> Position {
    let mut yes = || chance.once_in(2);
    let mut facts =
        Facts { filled: yes(), email: yes(), linkedin: yes(), written: yes(), ..Facts::default() };
    let mut piece = next(plan, position, facts);
    if let Next::Write(index) = piece {
        assert!(
            plan.steps[index].generate && !facts.written,
            "only what is generated and missing is written"
        );
        facts.written = true;
        piece = next(plan, position, facts);
        assert_eq!(piece, Next::Send(index), "what is written is sent");
    }
    match piece {
        Next::Have(index) | Next::Enrich(index) => {
            assert_eq!(piece == Next::Have(index), facts.filled, "what is there is not looked up");
            Position::Enrich(index)
        }
        Next::Send(index) | Next::Skip(index) => {
            let email = plan.steps[index].channel == Channel::Email;
            let reachable = if email { facts.email } else { facts.linkedin };
            assert_eq!(piece == Next::Send(index), reachable, "only who cannot be reached is skipped");
            Position::Step(index)
        }
        other => panic!("{other:?} in the middle of the way"),
    }
}

#[test]
fn fields_follow_at_once_and_steps_after_their_days() {
    let plan = Plan {
        enrich: vec!["contact".into(), "title".into()],
        steps: vec![step(1), step(2)],
        ..Plan::default()
    };
    assert_eq!(begin(&plan, 5), (Position::Enrich(0), Some(5)));
    assert_eq!(advance(&plan, Position::Enrich(0), 6), (Position::Enrich(1), Some(6)));
    assert_eq!(advance(&plan, Position::Enrich(1), 7), (Position::Step(0), Some(7 + DAY)));
    assert_eq!(advance(&plan, Position::Step(0), 8), (Position::Step(1), Some(8 + 2 * DAY)));
    assert_eq!(advance(&plan, Position::Step(1), 9), (Position::Step(2), None));
}

#[test]
fn an_answer_or_the_blocklist_ends_the_way_wherever_the_lead_is() {
    let plan = Plan { enrich: vec!["contact".into()], steps: vec![step(0), step(1)], ..Plan::default() };
    for position in [Position::Enrich(0), Position::Step(0), Position::Step(1)] {
        let replied = Facts { replied: true, blocked: true, ..Facts::default() };
        assert_eq!(next(&plan, position, replied), Next::Finish(Finish::Replied));
        let blocked = Facts { blocked: true, ..Facts::default() };
        assert_eq!(next(&plan, position, blocked), Next::Finish(Finish::Blocked));
    }
}

#[test]
fn a_field_taken_out_of_the_plan_makes_no_step_come_twice() {
    let plan = Plan { enrich: vec!["contact".into()], steps: vec![step(0), step(2)], ..Plan::default() };
    let facts = Facts { email: true, written: true, ..Facts::default() };
    let stranded = Position::Enrich(1);
    assert_eq!(next(&plan, stranded, facts), Next::Send(0));
    assert_eq!(advance(&plan, stranded, 7), (Position::Step(1), Some(7 + 2 * DAY)));
}

fn step(after_days: i64) -> Step {
    Step { channel: Channel::Email, after_days, generate: true }
}

fn random_plan(chance: &mut Chance) -> Plan {
    let enrich = (0..chance.within(0, 3)).map(|field| format!("field {field}")).collect();
    let channels = [Channel::Email, Channel::LinkedinInvite, Channel::LinkedinMessage];
    let mut random_step = || Step {
        channel: chance.pick(&channels).expect("three"),
        after_days: chance.within(0, 5),
        generate: chance.once_in(2),
    };
    let steps = (0..4).map(|_| random_step()).collect::<Vec<_>>();
    let kept = chance.within(0, 4) as usize;
    Plan { enrich, steps: steps.into_iter().take(kept).collect(), approve: false }
}
