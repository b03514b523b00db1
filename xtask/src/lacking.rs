//! What the guest of `xtask qemu` lacks: programs that some tests start, files that they read.
//!
//! *Invariant*: nothing is left out in silence, nor under a name that no test has any more. Who
//! starts a program that the guest lacks has a row: `tidy` reads the tests.

use crate::Outcome;
use crate::job::Job;

/// Programs that `boot.sh` puts there: ip, and what busybox is.
const IN_GUEST: &[&str] = &["gzip", "ip", "kill", "sh"];

/// Tests of a target that need something which the guest does not have: it, and they. A name that
/// ends with `::` is that of a module.
const NEEDS: &[(&str, &str, &[&str])] = &[
    ("lib", "copy of the repository", &["sys::steer::tests::snapshots::programs_read_as_before"]),
    (
        "lib",
        "openssl",
        &[
            "config::tls::tests::keys::a_file_with_the_parameters_of_the_curve",
            "config::tls::tests::keys::a_pin_as_the_documents_command_makes_it",
            "config::tls::tests::keys::encrypted_and_unsupported_keys_are_named",
            "config::tls::tests::keys::every_form_that_is_supported",
            "config::tls::tests::keys::the_same_in_der",
        ],
    ),
    (
        "tls",
        "openssl",
        &[
            "keys::a_server_that_asks_to_renegotiate_is_told_no",
            "keys::openssl_s_server_updates_keys",
            "keys::openssl_updates_keys_and_asks_us_to",
            "keys::renegotiation_is_refused",
            "peers::openssl_s_client_is_echoed",
            "peers::openssl_s_server_answers",
            "peers::openssl_s_server_sends_a_large_file",
            "resume::openssl_s_client_resumes_at_our_server",
            "resume::our_client_resumes_at_openssl_s_server",
            "trust::openssl_s_server_asks_for_our_certificate",
            "trust::openssl_shows_its_certificate_or_is_refused",
            "upgrade::openssl_asks_for_starttls",
            "upgrade::we_ask_for_starttls_before_openssl_s_server",
        ],
    ),
    (
        "tls",
        "gnutls-bin",
        &[
            "keys::gnutls_rekeys",
            "peers::gnutls_cli_is_echoed",
            "peers::gnutls_serv_echoes",
            "resume::gnutls_cli_resumes_at_our_server",
        ],
    ),
    (
        "tls",
        "curl",
        &["peers::curl_gets_an_answer", "peers::curl_refuses_a_certificate_and_we_are_told_why"],
    ),
    (
        "tls",
        "python3",
        &[
            "peers::pythons_client_is_echoed",
            "peers::pythons_server_echoes",
            "upgrade::pythons_smtplib_asks_for_starttls",
        ],
    ),
    (
        "proxy",
        "haproxy",
        &[
            "draining::a_shutdown_is_seen_by_haproxy_in_the_grace",
            "haproxy::haproxy_speaks_version_1",
            "haproxy::haproxy_speaks_version_2",
        ],
    ),
    (
        "http",
        "curl",
        &[
            "peers::curl_reuses_its_connection",
            "sealed::a_socket_that_listens_already",
            "sealed::https_is_http_behind_tls",
            "sealed::plaintext_tls_and_a_unix_socket_on_one_io",
        ],
    ),
    ("http", "nginx", &["corpus::nginx_beside_it"]),
    ("http", "python3", &["peers::python_sends_every_kind_of_body"]),
    ("http", "wrk", &["peers::wrk_finds_no_error"]),
    ("http_client", "nginx", &["peers::nginx_keeps_connections"]),
    ("http_client", "python3", &["peers::pythons_server_speaks_an_older_version"]),
    (
        "quic_peers",
        "other implementation of QUIC",
        &["clients::", "cluster::", "faults::", "lossy::", "servers::"],
    ),
];

/// Whether the guest has that program.
pub(crate) fn is_in_guest(program: &str) -> bool {
    IN_GUEST.contains(&program)
}

/// Whether that test of a target is left out. Its module ends with `::`, and may be an outer one.
pub(crate) fn names(target: &str, module: &str, test: &str) -> bool {
    let rows = NEEDS.iter().filter(|(of, ..)| *of == target);
    rows.flat_map(|(_, _, tests)| *tests).any(|named| match named.strip_prefix(module) {
        Some("") => true,
        Some(rest) => rest.rsplit("::").next() == Some(test),
        None => named.ends_with("::") && module.starts_with(named),
    })
}

/// What tells the test binary to leave out what the guest cannot run; each is named in the log.
pub(crate) fn skips(target: &str, path: &str) -> Outcome<Vec<String>> {
    let mut words = Vec::new();
    let needing: Vec<_> = NEEDS.iter().filter(|(of, ..)| *of == target).collect();
    if needing.is_empty() {
        return Ok(words);
    }
    let listed = Job::new(path, &["--list"]).run()?.good()?;
    for (_, what, tests) in needing {
        for test in *tests {
            let is_meant = |listed: &str| match test.ends_with("::") {
                true => listed.starts_with(test),
                false => listed == *test,
            };
            let mut listed = listed.lines.iter().filter_map(|line| line.strip_suffix(": test"));
            if !listed.any(is_meant) {
                return Err(format!("{target} has no test `{test}`: NEEDS is out of date"));
            }
            println!("not in the guest, which has no {what}: {test}");
            words.extend(["--skip".to_string(), (*test).to_string()]);
        }
    }
    Ok(words)
}
