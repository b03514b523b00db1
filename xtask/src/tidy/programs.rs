//! Programs that tests start: the guest of `cargo xtask qemu` has them, or `lacking` names the
//! test.
//!
//! Read from the text: who calls `Command::new`, and who calls those. What a helper starts is what
//! stands at the place of its parameter where it is called; methods are known by their name alone.

use std::collections::BTreeSet;

use super::Finding;
use super::lexer::is_word;
use super::sizes::{body_of, functions};
use super::source::{Source, close_of, words};
use crate::{lacking, qemu};

/// What stands for a program whose name is not to be read.
const UNREAD: &str = "a program";
/// The call that all others come to.
const START: &str = "Command::new";
/// What a test may start anywhere: itself.
const ITSELF: &str = "current_exe";

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let functions = reaching(sources);
    for test in functions.iter().filter(|function| function.is_test) {
        let Some((target, module)) = target_of(&test.source.path) else { continue };
        let strange = test.starts.iter().find(|name| !lacking::is_in_guest(name));
        let Some(program) = strange.filter(|_| !qemu::leaves_out(target)) else { continue };
        if !lacking::names(target, &module, &test.name) {
            let what = format!(
                "`{}` starts `{program}`, which the guest lacks: a row in xtask/src/lacking.rs",
                test.name
            );
            findings.push(Finding::new(&test.source.path, test.source.line_of(test.at), what));
        }
    }
    findings
}

/// The target that a file belongs to, and its module there with `::` behind it.
fn target_of(path: &str) -> Option<(&str, String)> {
    let (target, rest) = match path.strip_prefix("tests/") {
        Some(rest) => {
            rest.split_once('/').unwrap_or_else(|| (rest.trim_end_matches(".rs"), "main.rs"))
        }
        None => ("lib", path.strip_prefix("src/")?),
    };
    let parts = rest.trim_end_matches(".rs").split('/');
    let parts = parts.filter(|part| !["main", "lib", "mod"].contains(part));
    Some((target, parts.map(|part| format!("{part}::")).collect()))
}

/// A function with a body.
struct Function<'a> {
    source: &'a Source,
    name: String,
    /// The type whose `impl` it stands in.
    owner: Option<String>,
    at: usize,
    body: std::ops::Range<usize>,
    /// Names of its parameters, without `self`.
    params: Vec<String>,
    takes_self: bool,
    is_test: bool,
    /// What it starts, itself or by what it calls.
    starts: BTreeSet<String>,
    /// The parameter that is the name of what it starts.
    start_param: Option<usize>,
}

/// Every function of the tests, with what it starts.
fn reaching(sources: &[Source]) -> Vec<Function<'_>> {
    let ours = sources.iter().filter(|source| {
        target_of(&source.path).is_some_and(|(target, _)| target != "peers")
            && (source.path.starts_with("tests/") || source.code.contains(START))
    });
    let mut all = ours.flat_map(read).collect::<Vec<_>>();
    for function in &mut all {
        for open in calls(function.source, &function.body, START) {
            start(function, open, 0);
        }
    }
    let mut known = (0..all.len()).filter(|&at| all[at].is_known()).collect::<Vec<_>>();
    while let Some(callee) = known.pop() {
        for caller in 0..all.len() {
            if caller != callee && follow(&mut all, caller, callee) {
                known.push(caller);
            }
        }
    }
    all
}

/// What `callee` starts, `caller` starts if it calls it; whether that was news.
fn follow(all: &mut [Function<'_>], caller: usize, callee: usize) -> bool {
    let sites = sites(all, caller, callee);
    let (starts, param) = (all[callee].starts.clone(), all[callee].start_param);
    let caller = &mut all[caller];
    let before = (caller.starts.len(), caller.start_param);
    for open in sites {
        caller.starts.extend(starts.iter().cloned());
        if let Some(param) = param {
            start(caller, open, param);
        }
    }
    before != (caller.starts.len(), caller.start_param)
}

/// Notes what stands at that place among the arguments of the call whose bracket opens at `open`.
fn start(function: &mut Function<'_>, open: usize, place: usize) {
    let (code, text) = (&function.source.code, &function.source.text);
    let Some(range) = parts(code, open).into_iter().nth(place) else { return };
    let (argument, literal) = (code[range.clone()].trim(), text[range].trim());
    let name = argument.trim_start_matches('&');
    if argument.contains(ITSELF) {
        return;
    }
    match function.params.iter().position(|param| param == name) {
        Some(param) => function.start_param = Some(param),
        None if argument.is_empty() => {
            function.starts.insert(literal.trim_matches('"').to_string());
        }
        None => {
            function.starts.insert(UNREAD.to_string());
        }
    }
}

/// Where the arguments of the calls of `callee` open in the body of `caller`.
fn sites(all: &[Function<'_>], caller: usize, callee: usize) -> Vec<usize> {
    let (caller, callee) = (&all[caller], &all[callee]);
    let code = &caller.source.code;
    let near = |one: &Function<'_>| one.target() == caller.target();
    // A type that this target has is not another one's.
    let is_alike =
        |one: &Function<'_>| near(one) && one.name == callee.name && one.owner == callee.owner;
    let same_file = callee.source.path == caller.source.path;
    let found = calls(caller.source, &caller.body, &callee.name);
    let is_meant = |open: &usize| {
        let before = &code[..open - callee.name.len()];
        let qualifier = before.strip_suffix("::").map(last_word);
        match (qualifier, &callee.owner) {
            (None, Some(_)) => callee.takes_self && before.ends_with('.') && near(callee),
            (None, None) => {
                let is_in_scope = same_file || near(callee) && imports(caller.source, &callee.name);
                is_in_scope && !before.ends_with('.')
            }
            (Some("Self"), owner) => *owner == caller.owner && same_file,
            (Some(word), Some(owner)) => {
                word == owner && (near(callee) || !all.iter().any(is_alike))
            }
            (Some("crate" | "super"), None) => near(callee),
            (Some(word), None) => near(callee) && callee.module().ends_with(&format!("{word}::")),
        }
    };
    found.into_iter().filter(is_meant).collect()
}

impl Function<'_> {
    fn is_known(&self) -> bool {
        !self.starts.is_empty() || self.start_param.is_some()
    }

    fn target(&self) -> Option<&str> {
        target_of(&self.source.path).map(|(target, _)| target)
    }

    fn module(&self) -> String {
        target_of(&self.source.path).map(|(_, module)| module).unwrap_or_default()
    }
}

/// Whether a `use` of that file has the name.
fn imports(source: &Source, name: &str) -> bool {
    let uses = words(&source.code, "use ").map(|at| source.code[at..].split(';').next());
    uses.flatten().any(|text| words(text, name).next().is_some())
}

fn last_word(code: &str) -> &str {
    &code[code.rfind(|c: char| !c.is_ascii() || !is_word(c as u8)).map_or(0, |at| at + 1)..]
}

/// Where the brackets of the calls of `name` open in that range.
fn calls(source: &Source, range: &std::ops::Range<usize>, name: &str) -> Vec<usize> {
    let call = format!("{name}(");
    let found = words(&source.code[range.clone()], &call).map(|at| range.start + at + name.len());
    found.filter(|open| !source.code[..open - name.len()].ends_with("fn ")).collect()
}

/// The parts between the commas of the bracket at `open`.
fn parts(code: &str, open: usize) -> Vec<std::ops::Range<usize>> {
    let end = close_of(code, open).map_or(open + 1, |end| end - 1);
    let (mut found, mut begin, mut at) = (Vec::new(), open + 1, open + 1);
    while at < end {
        match code.as_bytes()[at] {
            b'(' | b'[' | b'{' => at = close_of(code, at).unwrap_or(end),
            b',' => {
                found.push(begin..at);
                at += 1;
                begin = at;
            }
            _ => at += 1,
        }
    }
    found.push(begin..end);
    found
}

fn read(source: &Source) -> Vec<Function<'_>> {
    let code = &source.code;
    let owners = words(code, "impl").filter_map(|at| {
        let open = body_of(code, at)?;
        Some((open..close_of(code, open)?, owner(&code[at + "impl".len()..open])?))
    });
    let owners = owners.collect::<Vec<_>>();
    let described = functions(code).into_iter().filter_map(|function| {
        let open = body_of(code, function.at)?;
        let params = function.at + code[function.at..].find('(')?;
        let heads = parts(code, params).into_iter().map(|range| code[range].split(':').next());
        let heads = heads.map(|head| head.unwrap_or_default().trim().to_string());
        let mut names = heads.filter(|name| !name.is_empty()).collect::<Vec<_>>();
        let takes_self = names.first().is_some_and(|name| last_word(name) == "self");
        names.drain(..usize::from(takes_self));
        let owner = owners.iter().rfind(|(range, _)| range.contains(&function.at));
        let head = code[..function.at].rfind(['}', ';', '{']).map_or(0, |at| at + 1);
        Some(Function {
            source,
            owner: owner.map(|(_, name)| name.clone()),
            at: function.at,
            body: open..close_of(code, open)?,
            params: names,
            takes_self,
            is_test: code[head..function.at].contains("#[test]"),
            name: function.name,
            starts: BTreeSet::new(),
            start_param: None,
        })
    });
    described.collect()
}

/// The type of `impl<'a> Trait for Type<'a> `, the keyword left out.
fn owner(head: &str) -> Option<String> {
    let of = head.rsplit_once(" for ").map_or(head, |(_, of)| of).trim_start();
    let of = of.strip_prefix('<').and_then(|of| of.split_once('>')).map_or(of, |(_, of)| of);
    let name: String = of.trim_start().chars().take_while(|c| is_word(*c as u8)).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::snippet;
    use super::*;

    /// What the tests of these files start.
    fn started(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files.iter().map(|(path, text)| snippet(path, text)).collect::<Vec<_>>();
        let tests = reaching(&sources).into_iter().filter(|one| one.is_test);
        let line = |test: Function<'_>| {
            let starts = test.starts.iter().map(String::as_str).collect::<Vec<_>>();
            format!("{} {}", test.name, starts.join(" "))
        };
        tests.map(line).filter(|line| !line.ends_with(' ')).collect()
    }

    #[test]
    fn what_a_test_starts_is_found_through_helpers_methods_and_other_files() {
        let helpers = "
            struct Program;
            impl Program {
                fn start(name: &str, args: &[&str]) -> Self { Self::start_in(\".\", name, args) }
                fn start_in(dir: &str, name: &str, args: &[&str]) -> Self { Command::new(name) }
                fn known(&self) { Command::new(\"curl\").args(f(1, 2)); }
            }";
        let peers = "
            fn ask() { tell(); }
            fn told() { tell() }
            fn tell() { Program::start_in(&a(b, c), \"openssl\", &[]); }
            #[test] fn a() { ask() }
            #[test] fn b() { let x = Program::start(\"python3\", &[]); x.known(); }
            #[test] fn c() { task(); known(); y.start(\"no\"); }
            #[test] fn d() { Command::new(std::env::current_exe().unwrap()); }
            #[test] fn e() { Command::new(path()); }";
        let other = "
            use super::{process, peers::told};
            #[test] fn f() { ask() }
            #[test] fn g() { peers::tell() }
            #[test] fn h() { told() }";
        let files = [
            ("tests/tls/process.rs", helpers),
            ("tests/tls/peers.rs", peers),
            ("tests/tls/other.rs", other),
        ];
        let expected = ["a openssl", "b curl python3", "e a program", "g openssl", "h openssl"];
        assert_eq!(started(&files), expected);
    }

    #[test]
    fn a_type_of_another_target_is_known_unless_this_one_has_it() {
        let nginx =
            ("tests/http/nginx.rs", "impl Nginx { fn start() { Command::new(\"nginx\") } }");
        let user = "#[test] fn a() { Nginx::start(); }";
        assert_eq!(started(&[nginx, ("tests/http_client/peers.rs", user)]), ["a nginx"]);
        let own = format!("impl Nginx {{ fn start() {{}} }} {user}");
        assert_eq!(started(&[nginx, ("tests/quic/peers.rs", &own)]), Vec::<String>::new());
    }

    #[test]
    fn a_test_without_a_row_is_found() {
        let breaches = |path: &str, text: &str| check(&[snippet(path, text)]).len();
        let curl = |name: &str| format!("#[test] fn {name}() {{ Command::new(\"curl\"); }}");
        assert_eq!(breaches("tests/http/peers.rs", &curl("curl_reuses_its_connection")), 0);
        assert_eq!(breaches("tests/http/peers.rs", &curl("another")), 1);
        assert_eq!(breaches("tests/http/kinds.rs", &curl("curl_reuses_its_connection")), 1);
        assert_eq!(breaches("tests/udp.rs", &curl("curl_reuses_its_connection")), 1);
        assert_eq!(breaches("tests/examples/main.rs", &curl("another")), 0);
        assert_eq!(breaches("tests/quic_peers/clients.rs", &curl("another")), 0);
        assert_eq!(breaches("src/sys/wake.rs", &curl("another")), 1);
        assert_eq!(breaches("tests/udp.rs", "#[test] fn a() { Command::new(\"ip\"); }"), 0);
    }
}
