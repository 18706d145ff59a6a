use super::*;

fn schedule(kind: BackupKind, when: When) -> Schedule {
    Schedule {
        name: ScheduleName::of(kind),
        cluster: "dev".parse().unwrap(),
        kind,
        when,
        config: "/etc/kbo/kbo.toml".into(),
        store: "/backup/cold".into(),
        user: "root".to_owned(),
        installed: "2026-11-25T12:00:00Z".parse().unwrap(),
    }
}

fn job(when: When) -> Job {
    Job {
        schedule: schedule(BackupKind::Config, when),
        program: "/usr/bin/kbo".into(),
        writable: vec!["/backup/cold".into(), "/var/log".into()],
        readable: vec![],
        has_local_node: false,
    }
}

fn at(text: &str) -> When {
    When::At(text.parse().unwrap())
}

fn cron(text: &str) -> When {
    When::Cron(Box::new(text.parse().unwrap()))
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn times_of_the_day_are_sorted_and_each_is_there_once() {
    assert_eq!(at("15:30, 3:00,15:30").to_string(), "at 03:00,15:30");
    assert_eq!(at("3:00,15:30").on_calendar(), ["*-*-* 03:00:00", "*-*-* 15:30:00"]);
    let next = at("03:00,15:30").next(time("2026-11-25T04:00:00Z"), &TimeZone::UTC);
    assert_eq!(next, Some(time("2026-11-25T15:30:00Z")));
}

#[test]
fn what_is_no_time_of_the_day_is_refused_with_what_would_be() {
    for text in [
        "",
        "3",
        "24:00",
        "03:60",
        "03:0",
        "3:000",
        "-1:00",
        "03:00:00",
        "03:00,",
        "3am",
        "+3:00",
        " : ",
        "03:00\n04:00",
    ] {
        let error = text.parse::<Times>().unwrap_err().to_string();
        assert!(
            error.contains("--at") && error.contains("\"03:00\""),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn calendar_expressions_cannot_break_out_of_their_line() {
    for text in ["", "daily\nExecStart=/bin/sh", "%h", "a\\", "x;y", "#", "d\u{e4}ily"] {
        assert!(text.parse::<Calendar>().is_err(), "{text:?}");
    }
    for text in [
        "daily",
        "Mon..Fri *-*-* 03:00:00 Europe/Berlin",
        "*-*~1 04:00",
        "00/2:30",
    ] {
        assert_eq!(text.parse::<Calendar>().unwrap().as_str(), text);
    }
}

#[test]
fn names_are_fit_for_files_of_cron_and_systemd() {
    for text in ["", ".hidden", "a.b", "a/b", "-a", "a b", "é", "a@b", &"x".repeat(65)] {
        assert!(text.parse::<ScheduleName>().is_err(), "{text:?}");
    }
    let mut dotted = schedule(BackupKind::Data, at("03:00"));
    dotted.cluster = "dev.eu-1".parse().unwrap();
    assert_eq!(dotted.stem(), "kbo-dev_eu-1-data");
}

#[test]
fn every_file_carries_the_schedule_that_it_is_made_of() {
    for when in [at("03:00,15:00"), cron("*/5 3-5 1,15 jan mon")] {
        let job = job(when);
        for text in [job.service().unwrap(), job.timer().unwrap(), job.crontab().unwrap()] {
            assert_eq!(Schedule::read(&text), Some(Ok(job.schedule.clone())), "{text}");
        }
    }
    let calendar = job(When::Calendar("Mon 03:00".parse().unwrap()));
    assert_eq!(
        Schedule::read(&calendar.timer().unwrap()),
        Some(Ok(calendar.schedule.clone()))
    );
    assert!(calendar.crontab().is_err());
    assert_eq!(
        Schedule::read("# a file of somebody else's\n* * * * * root true\n"),
        None
    );
    assert!(matches!(
        Schedule::read("# kbo-schedule: {\"name\":\"..\"}"),
        Some(Err(_))
    ));
}

#[test]
fn a_crontab_has_a_line_for_each_time_with_user_and_command() {
    let text = job(at("03:00,15:30")).crontab().unwrap();
    let command =
        "root /usr/bin/kbo --config /etc/kbo/kbo.toml --quiet backup --only config --wait 3600 --schedule config";
    let jobs: Vec<&str> = text.lines().filter(|line| line.contains(" root ")).collect();
    assert_eq!(jobs, [format!("0 3 * * * {command}"), format!("30 15 * * * {command}")]);
    assert!(
        text.ends_with('\n') && text.contains("\nPATH=/usr/local/sbin:"),
        "cron passes over a last line without its end"
    );
}

#[test]
fn paths_are_quoted_as_each_reader_wants_it() {
    let mut job = job(at("03:00"));
    job.schedule.config = "/etc/it's 100%/$x/kbo.toml".into();
    job.writable = vec!["/a b/c%d\"e".into()];
    let crontab = job.crontab().unwrap();
    assert!(
        crontab.contains(r"--config '/etc/it'\''s 100\%/$x/kbo.toml' --quiet"),
        "{crontab}"
    );
    let service = job.service().unwrap();
    assert!(
        service.contains(r#"--config "/etc/it's 100%%/$$x/kbo.toml" backup"#),
        "{service}"
    );
    assert!(service.contains(r#"ReadWritePaths="/a b/c%%d\"e""#), "{service}");
    for path in ["/a\nb", "relative/kbo.toml"] {
        job.schedule.config = path.into();
        assert!(job.crontab().is_err() && job.service().is_err(), "{path:?}");
    }
    job.schedule.config = format!("/{}", "x".repeat(1000)).into();
    assert!(job.crontab().unwrap_err().to_string().contains("shorter paths"));
}

#[test]
fn a_store_below_tmp_is_not_hidden_from_the_service() {
    let mut job = job(at("03:00"));
    assert!(job.service().unwrap().contains("\nPrivateTmp=yes\n"));
    job.writable.push("/tmp/cold".into());
    assert!(job.service().unwrap().contains("\nPrivateTmp=no\n"));
}

#[test]
fn a_backup_is_late_when_its_time_and_the_grace_are_over() {
    let nightly = schedule(BackupKind::Cluster, at("03:00"));
    let late = |last: &str, now: &str| nightly.due(Some(time(last)), time(now), &TimeZone::UTC).unwrap().late;
    assert!(!late("2026-11-26T03:00:00Z", "2026-11-27T04:59:00Z"));
    assert!(late("2026-11-26T03:00:00Z", "2026-11-27T05:00:01Z"));
    assert!(
        !late("2026-11-27T09:00:00Z", "2026-11-28T03:00:00Z"),
        "a backup by hand counts"
    );
    // Installed at noon of the 25th: what was due before does not count.
    let never = |now: &str| nightly.due(None, time(now), &TimeZone::UTC).unwrap().late;
    assert!(!never("2026-11-26T04:00:00Z"));
    assert!(never("2026-11-26T05:00:01Z"));
    assert!(
        !late("2020-01-01T00:00:00Z", "2026-11-25T13:00:00Z"),
        "an old backup is no fault of a schedule that was not due yet"
    );
    assert!(late("2020-01-01T00:00:00Z", "2026-11-26T05:00:01Z"));
}

#[test]
fn an_hourly_backup_is_late_after_an_hour_and_one_of_every_minute_after_ten() {
    let hourly = schedule(BackupKind::Config, cron("@hourly"));
    let late = |schedule: &Schedule, now: &str| {
        schedule
            .due(Some(time("2026-11-26T10:00:00Z")), time(now), &TimeZone::UTC)
            .unwrap()
            .late
    };
    assert!(!late(&hourly, "2026-11-26T11:59:00Z"));
    assert!(late(&hourly, "2026-11-26T12:00:01Z"));
    let minutely = schedule(BackupKind::Config, cron("* * * * *"));
    assert!(!late(&minutely, "2026-11-26T10:10:00Z"));
    assert!(late(&minutely, "2026-11-26T10:11:01Z"));
}

#[test]
fn systemd_is_given_no_program_that_it_would_not_run() {
    let mut job = job(at("03:00"));
    job.program = "/opt/100% $x/kbo".into();
    let service = job.service().unwrap();
    assert!(
        service.contains("ExecStart=\"/opt/100%% $x/kbo\" --config /etc"),
        "{service}"
    );
    job.program = "/opt/it's/kbo".into();
    assert!(job.service().unwrap_err().to_string().contains("--program"));
    assert!(job.crontab().is_ok());
}

/// What a package hands out as an example is what is installed, but for the line by which kbo knows its own.
#[test]
fn the_packaged_units_are_those_that_are_rendered() {
    let mut nightly = job(at("03:00"));
    nightly.schedule = schedule(BackupKind::Cluster, at("03:00"));
    let plain = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("Description="));
        lines.map(str::to_owned).collect()
    };
    for (rendered, packaged) in [
        (
            nightly.service().unwrap(),
            include_str!("../../../packaging/systemd/kbo-backup.service"),
        ),
        (
            nightly.timer().unwrap(),
            include_str!("../../../packaging/systemd/kbo-backup.timer"),
        ),
    ] {
        assert_eq!(plain(&rendered), plain(packaged), "{rendered}");
        assert_eq!(Schedule::read(packaged), None, "an example is no schedule of kbo's");
    }
}
