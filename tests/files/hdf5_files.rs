//! HDF5 files as the operator meets them: attributes of every shape, damage that kills the library, what `inspect` leaves
//! out. Through the program itself, because a process of its own looks at such files first.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn python() -> PathBuf {
    let env = std::env::var_os("MILVUSDM_TEST_ENV").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/milvusdm/test-env"),
        PathBuf::from,
    );
    env.join("ms/venv/bin/python")
}

/// Runs a script with h5py and numpy in a directory.
fn py(dir: &Path, script: &str) {
    let script = format!("import h5py, numpy as np\n{script}");
    let out = Command::new(python())
        .arg("-c")
        .arg(&script)
        .current_dir(dir)
        .output();
    let out = out.unwrap();
    assert!(
        out.status.success(),
        "{}\n{script}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Runs the program in a directory.
fn run(dir: &Path, args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
    program.args(args).current_dir(dir).output().unwrap()
}

/// The exit code, and what was said, which has to be text.
fn said(out: Output) -> (i32, String) {
    let code = out
        .status
        .code()
        .unwrap_or_else(|| panic!("ended by a signal: {out:?}"));
    let text = String::from_utf8([out.stdout, out.stderr].concat()).expect("UTF-8");
    (code, text)
}

const NAMES: [&str; 6] = [
    "metric_type",
    "collection",
    "partition",
    "dimension",
    "distance",
    "TITLE",
];

/// Shapes of an attribute: how it is made, and what `inspect` shows of it (`None`: anything but what was never written).
const SHAPES: [(&str, Option<&str>); 54] = [
    ("h5py.Empty('S1')", Some("")),
    ("h5py.Empty('S8')", Some("")),
    ("h5py.Empty('S400')", Some("")),
    ("h5py.Empty(h5py.string_dtype('utf-8'))", Some("")),
    ("h5py.Empty(h5py.string_dtype('ascii'))", Some("")),
    ("h5py.Empty('u8')", Some("")),
    ("h5py.Empty('i1')", Some("")),
    ("h5py.Empty('f4')", Some("")),
    ("h5py.Empty('?')", Some("")),
    ("h5py.Empty(np.dtype([('a', 'i4')]))", Some("")),
    ("h5py.Empty('V16')", Some("")),
    ("np.zeros(0, 'S8')", Some("")),
    ("np.zeros(0, 'u1')", Some("")),
    ("np.zeros((0, 3), 'f8')", Some("")),
    ("'L2'", Some("L2")),
    ("'caf\\u00e9'", Some("caf\u{e9}")),
    ("''", Some("")),
    ("np.bytes_(b'IP')", Some("IP")),
    ("np.bytes_(b'')", Some("")),
    ("np.bytes_(b'caf\\xe9')", Some("caf\u{fffd}")),
    ("np.array(b'\\xff\\xfe', 'S2')", Some("\u{fffd}\u{fffd}")),
    ("np.array(b'a\\x00b', 'S8')", Some("a\u{0}b")),
    ("np.array(['L2'], 'S2')", Some("L2")),
    ("np.array(['L2', 'IP'], 'S2')", None),
    ("['a', 'b']", None),
    ("np.array(['x'], dtype=h5py.string_dtype())", Some("x")),
    ("'x' * 5000", None),
    ("np.bytes_(b'x' * 5000)", None),
    ("np.bytes_(b'x' * 60000)", None),
    ("7", Some("7")),
    ("-7", Some("-7")),
    ("np.uint64(2**64 - 1)", Some("18446744073709551615")),
    ("np.array(513, '>i2')", Some("513")),
    ("np.uint8(200)", Some("200")),
    ("np.float16(0.5)", Some("0.5")),
    ("np.float32(1.5)", Some("1.5")),
    ("np.float64('nan')", Some("NaN")),
    ("True", Some("1")),
    ("1 + 2j", None),
    ("np.arange(3)", None),
    ("np.frombuffer('a\\u00e9'.encode(), 'u1')", Some("a\u{e9}")),
    ("np.array([255, 0], 'u1')", None),
    ("np.void(b'opaque')", None),
    ("f['embeddings'].ref", None),
    ("np.array([(1, 2.5)], [('a', 'i4'), ('b', 'f8')])", None),
    ("np.arange(6).reshape(2, 3)", None),
    ("np.ones((2, 2), 'f4')", None),
    ("np.array([['a', 'b'], ['c', 'd']], 'S3')", None),
    ("np.array([[7]], 'i8')", Some("7")),
    ("np.zeros((0, 0), 'S4')", Some("")),
    (
        "np.array([(1, [1, 2])], [('a', 'i4'), ('v', 'f4', (2,))])",
        None,
    ),
    ("np.array([True, False])", None),
    ("f['embeddings'].regionref[0:1]", None),
    ("h5py.Empty(h5py.ref_dtype)", Some("")),
];

#[test]
fn attributes_of_every_shape_are_shown_and_taken_for_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut script = String::new();
    for (number, (value, _)) in SHAPES.iter().enumerate() {
        script += &format!(
            "with h5py.File('{number}.h5', 'w') as f:\n    f['embeddings'] = np.arange(12, dtype='f4').reshape(3, 4)\n"
        );
        for name in NAMES {
            script += &format!("    f.attrs['{name}'] = {value}\n");
        }
    }
    // Text of variable length that is none: a null pointer; and sequences.
    script += "with h5py.File('pointer.h5', 'w') as f:
    f['embeddings'] = np.arange(12, dtype='f4').reshape(3, 4)
    for name in ['metric_type', 'collection', 'partition', 'dimension', 'distance', 'TITLE']:
        t = h5py.h5t.py_create(h5py.string_dtype(), logical=True)
        h5py.h5a.create(f.id, name.encode(), t, h5py.h5s.create(h5py.h5s.SCALAR))
kinds = {}
for pad in ('NULLTERM', 'NULLPAD', 'SPACEPAD'):
    for cset in ('CSET_ASCII', 'CSET_UTF8'):
        t = h5py.h5t.C_S1.copy(); t.set_size(6); t.set_strpad(getattr(h5py.h5t, 'STR_' + pad)); t.set_cset(getattr(h5py.h5t, cset))
        kinds[f'{pad}-{cset}'] = (t, np.array(b'IP    ', 'S6') if pad == 'SPACEPAD' else np.array(b'IP', 'S6'))
e = h5py.h5t.enum_create(h5py.h5t.STD_I16LE); e.enum_insert(b'RED', 3); kinds['enum'] = (e, np.array(3, 'i2'))
kinds['array'] = (h5py.h5t.array_create(h5py.h5t.STD_I32LE, (3,)), np.arange(3, dtype='i4'))
kinds['bits'] = (h5py.h5t.STD_B16LE, np.array(5, 'u2'))
for kind, (t, value) in kinds.items():
    with h5py.File(kind + '.h5', 'w') as f:
        f['embeddings'] = np.arange(12, dtype='f4').reshape(3, 4)
        for name in ['metric_type', 'collection', 'partition', 'dimension', 'distance', 'TITLE']:
            a = h5py.h5a.create(f.id, name.encode(), t, h5py.h5s.create(h5py.h5s.SCALAR))
            try: a.write(value, mtype=t)
            except Exception: pass
with h5py.File('sequence.h5', 'w') as f:
    f['embeddings'] = np.arange(12, dtype='f4').reshape(3, 4)
    for name in ['metric_type', 'collection', 'partition', 'dimension', 'distance', 'TITLE']:
        a = np.empty((), object); a[()] = np.array([1, 2], 'i4')
        f.attrs.create(name, a, dtype=h5py.vlen_dtype('i4'))
";
    py(dir.path(), &script);
    let shapes = SHAPES
        .iter()
        .enumerate()
        .map(|(n, (value, shown))| (n.to_string(), *value, *shown));
    let more = [
        ("pointer", "no pointer", Some("")),
        ("sequence", "a sequence", None),
        ("NULLTERM-CSET_ASCII", "ended by a NUL", Some("IP")),
        ("NULLTERM-CSET_UTF8", "ended by a NUL, UTF-8", Some("IP")),
        ("NULLPAD-CSET_ASCII", "filled with NULs", Some("IP")),
        ("NULLPAD-CSET_UTF8", "filled with NULs, UTF-8", Some("IP")),
        ("SPACEPAD-CSET_ASCII", "filled with spaces", Some("IP")),
        (
            "SPACEPAD-CSET_UTF8",
            "filled with spaces, UTF-8",
            Some("IP"),
        ),
        ("enum", "a named number", Some("3")),
        ("array", "an array", None),
        ("bits", "a field of bits", None),
    ];
    let more = more.map(|(name, value, shown)| (name.to_owned(), value, shown));
    for (name, value, shown) in shapes.chain(more) {
        let file = format!("{name}.h5");
        let (code, text) = said(run(dir.path(), &["inspect", &file]));
        assert_eq!(code, 0, "{value}: {text}");
        let out = run(dir.path(), &["inspect", "--json", &file]);
        let json: serde_json::Value =
            serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{value}: {e}"));
        let attributes = json["attributes"].as_array().unwrap();
        assert_eq!(attributes.len(), NAMES.len(), "{value}: {json}");
        for attribute in attributes {
            let said = attribute[1].as_str().unwrap();
            match shown {
                Some(shown) => assert_eq!(said, shown, "{value}"),
                None => assert!(
                    said.starts_with('(') && said.ends_with(')'),
                    "{value}: {said}"
                ),
            }
        }
        let job =
            format!("source: {{hdf5: {{paths: {file}}}}}\nsink: {{hdf5: {{dir: out{name}}}}}\n");
        std::fs::write(dir.path().join(format!("{name}.yaml")), job).unwrap();
        let job = format!("{name}.yaml");
        let (planned, text) = said(run(dir.path(), &["plan", &job]));
        assert!([0, 2, 3].contains(&planned), "{value}: {text}");
        let out = run(dir.path(), &["plan", "--json", &job]);
        serde_json::from_slice::<serde_json::Value>(&out.stdout)
            .unwrap_or_else(|e| panic!("{value}: {e}"));
        let (code, text) = said(run(dir.path(), &["run", "--progress", "none", &job]));
        assert_eq!(code, planned, "{value}: {text}");
        let out = run(dir.path(), &["run", "--json", "--progress", "none", &job]);
        serde_json::from_slice::<serde_json::Value>(&out.stdout)
            .unwrap_or_else(|e| panic!("{value}: {e}"));
        // What has no value names nothing: rows go where those of a file without attributes go.
        if shown == Some("") {
            assert_eq!(code, 0, "{value}: {text}");
            let made = std::fs::read_dir(dir.path().join(format!("out{name}"))).unwrap();
            let made: Vec<String> = made
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            assert!(made.iter().all(|n| n.is_ascii()), "{value}: {made:?}");
        }
    }
}

#[test]
fn a_library_that_dies_of_a_file_takes_no_command_along() {
    let dir = tempfile::tempdir().unwrap();
    // A filter that kills the process that loads it, as a damaged file may.
    let plugin = "#include <stdlib.h>
int H5PLget_plugin_type(void) { return 0; }
const void *H5PLget_plugin_info(void) { abort(); }
";
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    std::fs::write(dir.path().join("plugin.c"), plugin).unwrap();
    let cc = ["-shared", "-fPIC", "-o", "plugins/libdeath.so", "plugin.c"];
    assert!(
        Command::new("cc")
            .args(cc)
            .current_dir(dir.path())
            .status()
            .unwrap()
            .success()
    );
    py(dir.path(), "for i in range(3):
    with h5py.File(f'{i}.h5', 'w') as f:
        p = h5py.h5p.create(h5py.h5p.DATASET_CREATE); p.set_chunk((3, 4))
        if i == 1: p.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, ())
        d = h5py.h5d.create(f.id, b'embeddings', h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3, 4)), p)
        d.write_direct_chunk((0, 0), np.zeros((3, 4), '<f4').tobytes())
");
    let job = "source: {hdf5: {paths: [0.h5, 1.h5, 2.h5]}}\nsink: {hdf5: {path: out.h5}}\n";
    std::fs::write(dir.path().join("job.yaml"), job).unwrap();
    for args in [
        &["inspect", "1.h5"][..],
        &["plan", "job.yaml"],
        &["run", "job.yaml"],
        &["inspect", "--json", "1.h5"],
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
        let program = program
            .args(args)
            .current_dir(dir.path())
            .env("HDF5_PLUGIN_PATH", dir.path().join("plugins"));
        let (code, text) = said(program.output().unwrap());
        assert_eq!(code, 3, "{args:?}: {text}");
        assert!(
            text.contains("1.h5: the HDF5 library crashed on it (signal 6)"),
            "{args:?}: {text}"
        );
    }
    // Without the plugin the filter is not there, which is said in words; the other files are well.
    let (code, text) = said(run(dir.path(), &["plan", "job.yaml"]));
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains("filter 32999") && text.contains("HDF5_PLUGIN_PATH"),
        "{text}"
    );
}

/// The destination's files are looked at in that process, too, whatever is to become of them.
#[test]
fn a_library_that_dies_of_a_file_at_the_destination_takes_no_command_along() {
    let dir = tempfile::tempdir().unwrap();
    let room = dir.path();
    // Whatever looks for plugins dies, and this has the library look for one as soon as it is used.
    let plugin = "#include <stdlib.h>\nint H5PLget_plugin_type(void) { abort(); }\nconst void *H5PLget_plugin_info(void) { abort(); }\n";
    std::fs::create_dir(room.join("plugins")).unwrap();
    std::fs::write(room.join("plugin.c"), plugin).unwrap();
    let cc = ["-shared", "-fPIC", "-o", "plugins/libdeath.so", "plugin.c"];
    let built = Command::new("cc").args(cc).current_dir(room).status();
    assert!(built.unwrap().success());
    std::fs::create_dir_all(room.join("there/c")).unwrap();
    py(
        room,
        "for name in ('alone.h5', 'there/c/part.h5'):
    with h5py.File(name, 'w') as f: f['embeddings'] = np.zeros((3, 4), 'f4')
",
    );
    let index = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faiss/ivf.index");
    let job = |sink: &str| {
        let text = format!(
            "source: {{faiss: {{path: {}}}}}\nsink: {{hdf5: {{{sink}}}}}\n",
            index.display()
        );
        std::fs::write(room.join("onto.yaml"), text).unwrap();
    };
    let dies = |command: &str, dead: &str| {
        let before = std::fs::read(room.join(dead)).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
        let program = program
            .args([command, "onto.yaml"])
            .current_dir(room)
            .env("HDF5_VOL_CONNECTOR", "death")
            .env("HDF5_PLUGIN_PATH", room.join("plugins"));
        let (code, text) = said(program.output().unwrap());
        assert_eq!(code, 3, "{command}: {text}");
        for words in [
            &format!("{dead}: the HDF5 library crashed on it (signal 6)"),
            "remove the file, and the job writes it again",
        ] {
            assert!(text.contains(words), "{command}: {text}");
        }
        assert_eq!(std::fs::read(room.join(dead)).unwrap(), before);
    };
    for (sink, dead) in [
        ("path: alone.h5, mode: overwrite", "alone.h5"),
        ("path: alone.h5, mode: skip", "alone.h5"),
        ("path: alone.h5, mode: fail", "alone.h5"),
        ("dir: there, mode: overwrite", "there/c/part.h5"),
    ] {
        job(sink);
        dies("plan", dead);
        dies("run", dead);
    }
    job("path: own.h5");
    let (code, text) = said(run(room, &["run", "--progress", "none", "onto.yaml"]));
    assert_eq!(code, 0, "{text}");
    dies("verify", "own.h5");
}

/// A file as a header may be damaged: a bit turned over, a byte set, a number made large, the end cut off.
fn damaged(whole: &[u8], at: usize, number: usize) -> Vec<u8> {
    let mut odd = whole.to_vec();
    let mut put = |bytes: &[u8]| {
        let room = bytes.len().min(whole.len() - at);
        odd[at..at + room].copy_from_slice(&bytes[..room]);
    };
    match number % 11 {
        0 => put(&[0]),
        1 => put(&[0xff]),
        2 => put(&0x7fff_ffffu32.to_le_bytes()),
        3 => put(&u64::MAX.to_le_bytes()),
        4 => put(&(at as u64).to_le_bytes()),
        5 => odd.truncate(at),
        n => odd[at] ^= 1 << (n % 8),
    }
    odd
}

#[test]
fn no_byte_of_a_header_ends_a_command_by_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    py(dir.path(), "for name, more in (('old', {}), ('new', {'libver': 'latest'})):
    with h5py.File(name + '.h5', 'w', **more) as f:
        f.create_dataset('embeddings', data=np.zeros((40, 4), 'f4'), chunks=(10, 4), compression='gzip', maxshape=(None, 4))
        f['ids'] = [str(i) for i in range(40)]
        f.attrs['collection'] = 'c'; f.attrs['metric_type'] = np.bytes_('L2')
    with h5py.File(name + '-more.h5', 'w', **more) as f:
        f.create_dataset('embeddings', data=np.arange(96, dtype='f4').reshape(24, 4), chunks=(5, 4), shuffle=True, fletcher32=True)
        f.create_dataset('ids', data=np.arange(24), maxshape=(24,), chunks=(7,))
        g = f.create_group('a/b/c', track_order=True); f['link'] = h5py.SoftLink('/a/b'); f['out'] = h5py.ExternalLink('x.h5', '/y')
        g['pair'] = np.zeros(3, [('n', 'i4'), ('t', 'S5'), ('v', 'f4', (2,))])
        g['ragged'] = np.array([np.arange(n, dtype='f4') for n in (1, 2, 3)], h5py.vlen_dtype('f4'))
        g['kind'] = np.zeros(2, h5py.enum_dtype({'A': 0, 'B': 1}, 'i1')); g['ref'] = np.array([f['ids'].ref], h5py.ref_dtype)
        for i in range(12): f.attrs[f'a{i}'] = np.arange(i) if i % 2 else 'x' * i
        f.attrs['none'] = h5py.Empty('S4'); f.attrs['collection'] = 'c'
");
    for (name, step) in [("old", 23), ("new", 23), ("old-more", 61), ("new-more", 61)] {
        let whole = std::fs::read(dir.path().join(format!("{name}.h5"))).unwrap();
        std::fs::write(
            dir.path().join("job.yaml"),
            "source: {hdf5: {paths: odd.h5}}\nsink: {hdf5: {path: out.h5, mode: overwrite}}\n",
        )
        .unwrap();
        // A damaged file where the job writes: looked at before it is replaced, or left as it is.
        let onto = |mode: &str| {
            format!(
                "source: {{hdf5: {{paths: {name}.h5}}}}\nsink: {{hdf5: {{path: odd.h5, mode: {mode}}}}}\n"
            )
        };
        std::fs::write(dir.path().join("onto.yaml"), onto("overwrite")).unwrap();
        std::fs::write(dir.path().join("beside.yaml"), onto("skip")).unwrap();
        // Zeros are room that nothing is in.
        let places = (0..whole.len()).filter(|at| whole[*at] != 0);
        for (number, at) in places.enumerate().filter(|(n, _)| n % step == 0) {
            let odd = damaged(&whole, at, number);
            std::fs::write(dir.path().join("odd.h5"), odd).unwrap();
            let command: &[&str] = match number % 4 {
                0 => &["inspect", "odd.h5"],
                1 => &["plan", "onto.yaml"],
                2 => &["run", "--again", "--progress", "none", "beside.yaml"],
                _ => &["run", "--again", "--progress", "none", "job.yaml"],
            };
            let (code, text) = said(run(dir.path(), command));
            assert!(
                [0, 2, 3, 4].contains(&code),
                "{name}, byte {at}, {number}: {code}: {text}"
            );
        }
    }
}

/// Work is counted as the processor's time, and compared with that for a part of the groups: where each costs as much as
/// the last, seven times as many cost no more than that, on any machine.
#[test]
fn a_wide_group_costs_as_much_as_it_has_members() {
    let dir = tempfile::tempdir().unwrap();
    py(
        dir.path(),
        "for n in (5000, 35000):
    with h5py.File(f'{n}.h5', 'w') as f:
        for i in range(n): f.create_group(str(i))
",
    );
    let cost = |groups: u32| -> f64 {
        let script = "import resource, subprocess, sys
out = subprocess.run(sys.argv[1:], check=True, capture_output=True, text=True).stdout
assert f'and {int(sys.argv[3].split(\".\")[0]) - 999} groups' in out, out[-300:]
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)";
        let file = format!("{groups}.h5");
        let mut python = Command::new(python());
        let program = env!("CARGO_BIN_EXE_milvusdm");
        let python = python.args(["-c", script, program, "inspect", &file]);
        let (code, text) = said(python.current_dir(dir.path()).output().unwrap());
        assert_eq!(code, 0, "{text}");
        text.trim().parse().unwrap()
    };
    let (few, many) = (cost(5000), cost(35_000));
    assert!(many < 20.0 * few, "{few} s for 5,000, {many} s for 35,000");
}

#[test]
fn inspect_says_what_it_leaves_out() {
    let dir = tempfile::tempdir().unwrap();
    py(
        dir.path(),
        "with h5py.File('many.h5', 'w') as f:
    for i in range(1500): f[f'P{i:05d}'] = np.zeros(4, 'f2')
with h5py.File('wide.h5', 'w') as f:
    for i in range(2500): f.create_group(str(i))
with h5py.File('twice.h5', 'w') as f:
    f['embeddings'] = np.zeros((6, 4), 'f4'); f['ids'] = [5, 7, 5, 8, 7, 5]
",
    );
    for (file, words) in [
        ("many.h5", "and 500 more, not listed"),
        ("wide.h5", "and 1501 groups that were not inspected"),
        ("twice.h5", "int64, 5 to 8; 2 ids repeat"),
    ] {
        let (code, text) = said(run(dir.path(), &["inspect", file]));
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(words), "{file}: {text}");
    }
}

#[test]
fn a_locked_file_is_called_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Command::new(python());
    let script = "import h5py, sys\nf = h5py.File('a.h5', 'w'); f['embeddings'] = [[1.0, 2.0]]; f.flush(); print(1, flush=True); sys.stdin.read()";
    writer.arg("-c").arg(script).current_dir(dir.path());
    writer
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    let mut line = [0; 2];
    std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut line).unwrap();
    std::fs::write(
        dir.path().join("job.yaml"),
        "source: {hdf5: {paths: a.h5}}\nsink: {hdf5: {path: out.h5}}\n",
    )
    .unwrap();
    for args in [["inspect", "a.h5"], ["plan", "job.yaml"]] {
        let (code, text) = said(run(dir.path(), &args));
        assert_eq!(code, 6, "{text}");
        assert!(
            text.contains("another process has it open for writing"),
            "{text}"
        );
    }
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
}

/// Filters that the library does not bring are called by their names, with the two ways out.
#[test]
fn filters_that_are_missing_are_called_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let filters = [
        (305, "LZO"),
        (307, "bzip2"),
        (32001, "Blosc"),
        (32004, "LZ4"),
        (32008, "bitshuffle"),
        (32015, "Zstandard"),
        (32026, "Blosc2"),
    ];
    let mut script = String::new();
    for (number, _) in filters {
        script += &format!(
            "with h5py.File('{number}.h5', 'w') as f:
    p = h5py.h5p.create(h5py.h5p.DATASET_CREATE); p.set_chunk((3, 4)); p.set_filter({number}, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    d = h5py.h5d.create(f.id, b'embeddings', h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3, 4)), p)
    d.write_direct_chunk((0, 0), b'packed by something else')
"
        );
    }
    py(dir.path(), &script);
    for (number, name) in filters {
        let job =
            format!("source: {{hdf5: {{paths: {number}.h5}}}}\nsink: {{hdf5: {{path: out.h5}}}}\n");
        std::fs::write(dir.path().join("job.yaml"), job).unwrap();
        for args in [
            &["plan", "job.yaml"][..],
            &["run", "--progress", "none", "job.yaml"],
        ] {
            let (code, text) = said(run(dir.path(), args));
            assert_eq!(code, 3, "{text}");
            for words in [
                format!("{number}.h5"),
                format!("{name} (filter {number})"),
                match number {
                    305 => "`ptrepack --complib zlib IN OUT`".to_owned(),
                    _ => "set HDF5_PLUGIN_PATH to a directory of filters".to_owned(),
                },
            ] {
                assert!(text.contains(&words), "no `{words}` in {text}");
            }
        }
        let (code, text) = said(run(dir.path(), &["inspect", &format!("{number}.h5")]));
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(name), "{text}");
        assert!(!dir.path().join("out.h5").exists());
    }
}
