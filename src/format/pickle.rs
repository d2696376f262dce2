//! pickle: which values does a pickled Python object hold? Interprets the opcodes and runs nothing: classes are just
//! names, and what Python would call is only recorded. An unexpected class is an error.
//!
//! Lists, dictionaries and objects are stored side by side and referred to by number: one may contain itself, or a
//! million may be nested, so nothing here recurses into them.

use crate::limits;

/// A value; text and bytes are borrowed from the pickle.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'b> {
    /// None.
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number.
    Float(f64),
    /// Text.
    Text(&'b str),
    /// Bytes.
    Bytes(&'b [u8]),
    /// A list, tuple or set, by its number.
    List(usize),
    /// A dictionary, by its number.
    Dict(usize),
    /// A class: module and name.
    Class(&'b str, &'b str),
    /// An object of a class, by its number.
    Object(usize),
    /// Where a group of values begins on the stack.
    Mark,
}

impl<'b> Value<'b> {
    /// The text that it is.
    pub fn text(self) -> Option<&'b str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// An object: nothing of its class is known but the name.
#[derive(Clone, Copy, Debug)]
pub struct Object<'b> {
    /// Module and name.
    pub class: (&'b str, &'b str),
    /// The state that was set on it.
    pub state: Option<Value<'b>>,
}

/// The values of a pickle.
#[derive(Default, Debug)]
pub struct Pickle<'b> {
    lists: Vec<Vec<Value<'b>>>,
    dicts: Vec<Vec<(Value<'b>, Value<'b>)>>,
    objects: Vec<Object<'b>>,
}

impl<'b> Pickle<'b> {
    /// The values of a list, tuple or set.
    pub fn list(&self, number: usize) -> &[Value<'b>] {
        self.lists.get(number).map_or(&[], Vec::as_slice)
    }

    /// The entries of a dictionary, in their order; of two with one key, the later counts.
    pub fn dict(&self, number: usize) -> &[(Value<'b>, Value<'b>)] {
        self.dicts.get(number).map_or(&[], Vec::as_slice)
    }

    /// An object.
    pub fn object(&self, number: usize) -> Option<Object<'b>> {
        self.objects.get(number).copied()
    }

    /// What a dictionary has under a key.
    pub fn get(&self, dict: Value<'b>, key: &str) -> Option<Value<'b>> {
        let Value::Dict(number) = dict else {
            return None;
        };
        let mut entries = self.dict(number).iter().rev();
        let found = entries.find(|(k, _)| k.text() == Some(key));
        found.map(|(_, value)| *value)
    }
}

/// Reads a pickle in which only these classes occur, and returns all its values and the topmost one. Errors say at
/// which byte something is wrong, and what.
pub fn read<'b>(
    bytes: &'b [u8],
    is_known: &dyn Fn(&str, &str) -> bool,
) -> Result<(Pickle<'b>, Value<'b>), (usize, String)> {
    let mut walker = Walker {
        bytes,
        at: 0,
        stack: Vec::new(),
        memo: Vec::new(),
        values: 0,
        made: Pickle::default(),
        is_known,
    };
    loop {
        let at = walker.at;
        match walker.step() {
            Ok(None) => {}
            Ok(Some(value)) => return Ok((walker.made, value)),
            Err(what) => return Err((at, what)),
        }
    }
}

struct Walker<'b, 'k> {
    bytes: &'b [u8],
    at: usize,
    stack: Vec<Value<'b>>,
    memo: Vec<Value<'b>>,
    values: usize,
    made: Pickle<'b>,
    is_known: &'k dyn Fn(&str, &str) -> bool,
}

type Step<T> = Result<T, String>;

impl<'b> Walker<'b, '_> {
    fn take(&mut self, len: usize) -> Step<&'b [u8]> {
        let end = (self.at.checked_add(len)).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("ends early")?;
        let taken = self.bytes.get(self.at..end);
        self.at = end;
        Ok(taken.unwrap_or_default())
    }

    fn word<const N: usize>(&mut self) -> Step<[u8; N]> {
        let taken = self.take(N)?;
        let word = taken.first_chunk::<N>().copied();
        word.ok_or_else(|| "ends early".to_owned())
    }

    /// A length of 1, 4 or 8 bytes.
    fn len<const N: usize>(&mut self) -> Step<usize> {
        let word = self.word::<N>()?;
        let mut len = 0u64;
        for byte in word.iter().rev() {
            len = len << 8 | u64::from(*byte);
        }
        usize::try_from(len).map_err(|_| "ends early".to_owned())
    }

    fn line(&mut self) -> Step<&'b str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|byte| *byte == b'\n');
        let line = text_of(self.take(len.ok_or("ends early")?)?)?;
        self.take(1)?;
        Ok(line)
    }

    fn push(&mut self, value: Value<'b>) -> Step<()> {
        self.values = self.values.saturating_add(1);
        if self.values > limits::PICKLE_VALUES_MAX {
            return Err(format!(
                "has more than {} values",
                limits::PICKLE_VALUES_MAX
            ));
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_list(&mut self, values: Vec<Value<'b>>) -> Step<()> {
        self.push(Value::List(self.made.lists.len()))?;
        self.made.lists.push(values);
        Ok(())
    }

    fn push_dict(&mut self) -> Step<()> {
        self.push(Value::Dict(self.made.dicts.len()))?;
        self.made.dicts.push(Vec::new());
        Ok(())
    }

    fn pop(&mut self) -> Step<Value<'b>> {
        match self.stack.pop() {
            None | Some(Value::Mark) => Err("uses a value that does not exist".to_owned()),
            Some(value) => Ok(value),
        }
    }

    fn top(&self) -> Step<Value<'b>> {
        let top = self.stack.last().copied();
        top.ok_or_else(|| "uses a value that does not exist".to_owned())
    }

    /// The values after the last mark.
    fn group(&mut self) -> Step<Vec<Value<'b>>> {
        let mark = (self.stack.iter()).rposition(|value| matches!(value, Value::Mark));
        let mark = mark.ok_or("ends a group that has not begun")?;
        let group = self.stack.get(mark..).unwrap_or_default();
        let group = group.iter().skip(1).copied().collect();
        self.stack.truncate(mark);
        Ok(group)
    }

    fn remember(&mut self, at: usize) -> Step<()> {
        let value = self.top()?;
        // Writers number values consecutively.
        let next = self.memo.len();
        match self.memo.get_mut(at) {
            Some(place) => *place = value,
            None if at == next => self.memo.push(value),
            None => return Err(format!("remembers a value under the number {at}")),
        }
        Ok(())
    }

    fn recall(&mut self, at: usize) -> Step<()> {
        let value = self.memo.get(at).copied();
        self.push(value.ok_or_else(|| format!("recalls value {at}, which it did not remember"))?)
    }

    fn text(&mut self, len: usize) -> Step<()> {
        let text = text_of(self.take(len)?)?;
        self.push(Value::Text(text))
    }

    fn raw(&mut self, len: usize) -> Step<()> {
        let bytes = self.take(len)?;
        self.push(Value::Bytes(bytes))
    }

    fn long(&mut self, len: usize) -> Step<()> {
        let bytes = self.take(len)?;
        if len > 16 {
            return Err(format!("holds a number of {len} bytes"));
        }
        let sign = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut number = if sign { -1i128 } else { 0 };
        for byte in bytes.iter().rev() {
            number = number << 8 | i128::from(*byte);
        }
        self.push(Value::Int(number))
    }

    fn class(&mut self, module: &'b str, name: &'b str) -> Step<()> {
        if !(self.is_known)(module, name) {
            return Err(format!(
                "names the class {module}.{name}, which is not known here; nothing of a pickle is ever run"
            ));
        }
        self.push(Value::Class(module, name))
    }

    fn object(&mut self) -> Step<()> {
        self.pop()?; // What it is given when it is made: all that is read here is put into it later.
        match self.pop()? {
            Value::Class(module, name) => {
                self.push(Value::Object(self.made.objects.len()))?;
                self.made.objects.push(Object {
                    class: (module, name),
                    state: None,
                });
                Ok(())
            }
            _ => Err("instantiates something that is not a class".to_owned()),
        }
    }

    /// Puts values at the end of the list on top.
    fn append(&mut self, values: Vec<Value<'b>>) -> Step<()> {
        let list = match self.top()? {
            Value::List(number) => self.made.lists.get_mut(number),
            _ => None,
        };
        list.ok_or("appends to something that is not a list")?
            .extend(values);
        Ok(())
    }

    fn set(&mut self, values: Vec<Value<'b>>) -> Step<()> {
        let dict = match self.top()? {
            Value::Dict(number) => self.made.dicts.get_mut(number),
            _ => None,
        };
        let dict = dict.ok_or("sets keys in something that is not a dictionary")?;
        let (pairs, rest) = values.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("has a key without a value".to_owned());
        }
        dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        let object = match self.top()? {
            Value::Object(number) => self.made.objects.get_mut(number),
            _ => None,
        };
        let object = object.ok_or("sets the state of something that is not an object")?;
        object.state = Some(state);
        Ok(())
    }

    /// One opcode; the value at the end.
    fn step(&mut self) -> Step<Option<Value<'b>>> {
        let [code] = self.word::<1>()?;
        match code {
            0x80 => {
                let [version] = self.word::<1>()?;
                if version > 5 {
                    return Err(format!("has protocol {version}, and 5 is the last known"));
                }
            }
            0x95 => drop(self.take(8)?), // A frame: only of use to readers that read piece by piece.
            b'.' => return self.pop().map(Some),
            b'(' => self.push(Value::Mark)?,
            b'0' => drop(self.stack.pop()),
            b'1' => drop(self.group()?),
            b'2' => {
                let value = self.top()?;
                self.push(value)?;
            }
            b'N' => self.push(Value::None)?,
            0x88 | 0x89 => self.push(Value::Bool(code == 0x88))?,
            b'J' => {
                let word = self.word()?;
                self.push(Value::Int(i32::from_le_bytes(word).into()))?;
            }
            b'K' => {
                let [byte] = self.word()?;
                self.push(Value::Int(byte.into()))?;
            }
            b'M' => {
                let word = self.word()?;
                self.push(Value::Int(u16::from_le_bytes(word).into()))?;
            }
            0x8a => {
                let len = self.len::<1>()?;
                self.long(len)?;
            }
            0x8b => {
                let len = self.len::<4>()?;
                self.long(len)?;
            }
            b'G' => {
                let word = self.word()?;
                self.push(Value::Float(f64::from_be_bytes(word)))?;
            }
            0x8c => {
                let len = self.len::<1>()?;
                self.text(len)?;
            }
            b'X' => {
                let len = self.len::<4>()?;
                self.text(len)?;
            }
            0x8d => {
                let len = self.len::<8>()?;
                self.text(len)?;
            }
            b'C' => {
                let len = self.len::<1>()?;
                self.raw(len)?;
            }
            b'B' => {
                let len = self.len::<4>()?;
                self.raw(len)?;
            }
            0x8e | 0x96 => {
                let len = self.len::<8>()?;
                self.raw(len)?;
            }
            b']' | 0x8f => self.push_list(Vec::new())?,
            b'}' => self.push_dict()?,
            b')' => self.push_list(Vec::new())?,
            0x85..=0x87 => {
                let mut values = vec![Value::None; usize::from(code & 3)];
                for value in values.iter_mut().rev() {
                    *value = self.pop()?;
                }
                self.push_list(values)?;
            }
            b't' => {
                let group = self.group()?;
                self.push_list(group)?;
            }
            b'l' | 0x91 => {
                let group = self.group()?;
                self.push_list(group)?;
            }
            b'd' => {
                let group = self.group()?;
                self.push_dict()?;
                self.set(group)?;
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            b'e' | 0x90 => {
                let group = self.group()?;
                self.append(group)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![key, value])?;
            }
            b'u' => {
                let group = self.group()?;
                self.set(group)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'q' => {
                let at = self.len::<1>()?;
                self.remember(at)?;
            }
            b'r' => {
                let at = self.len::<4>()?;
                self.remember(at)?;
            }
            b'h' => {
                let at = self.len::<1>()?;
                self.recall(at)?;
            }
            b'j' => {
                let at = self.len::<4>()?;
                self.recall(at)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.class(module, name)?;
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.class(module, name)?,
                _ => return Err("names a class with something that is not text".to_owned()),
            },
            0x81 | b'R' => self.object()?,
            b'b' => self.build()?,
            code => {
                return Err(format!(
                    "has the opcode {code:#04x}, which is not known here"
                ));
            }
        }
        Ok(None)
    }
}

fn text_of(bytes: &[u8]) -> Step<&str> {
    std::str::from_utf8(bytes).map_err(|_| "contains text that is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8]) -> String {
        match read(bytes, &|module, name| (module, name) == ("a", "B")) {
            Ok((_, value)) => format!("{value:?}"),
            Err((at, what)) => format!("{at}: {what}"),
        }
    }

    #[test]
    fn values_are_read_and_objects_keep_their_state() {
        assert_eq!(said(b"\x80\x04K\x07."), "Int(7)");
        assert_eq!(said(b"\x8a\x01\xff."), "Int(-1)");
        assert_eq!(said(b"\x8a\x05\0\0\0\0\x01."), "Int(4294967296)");
        let known = |_: &str, _: &str| true;
        let (made, pair) = read(b"\x8c\x01a\x94h\0\x86.", &known).unwrap();
        assert_eq!(pair, Value::List(0));
        assert_eq!(made.list(0), [Value::Text("a"), Value::Text("a")]);
        let (made, dict) = read(b"}\x94(X\x01\0\0\0kK\x01X\x01\0\0\0kK\x02u.", &known).unwrap();
        assert_eq!(made.get(dict, "k"), Some(Value::Int(2)));
        let (made, object) = read(b"ca\nB\n)\x81}X\x01\0\0\0kNsb.", &known).unwrap();
        assert_eq!(object, Value::Object(0));
        let object = made.object(0).unwrap();
        assert_eq!(object.class, ("a", "B"));
        assert_eq!(made.get(object.state.unwrap(), "k"), Some(Value::None));
    }

    #[test]
    fn a_million_lists_in_one_another_are_no_trouble() {
        let mut bytes = b"]".repeat(1_000_000);
        bytes.extend(b"a".repeat(999_999));
        bytes.push(b'.');
        assert_eq!(said(&bytes), "List(0)");
    }

    #[test]
    fn what_is_odd_is_an_error_and_unknown_classes_are_named() {
        assert!(said(b"cos\nsystem\nX\x02\0\0\0ls\x85R.").contains("the class os.system"));
        assert!(said(b"\x8c\x02os\x8c\x06system\x93.").contains("the class os.system"));
        for odd in [
            &b""[..],
            b".",
            b"a.",
            b"Ka",
            b"K\x01K\x02a.",
            b"h\x01.",
            b"Nr\xff\xff\xff\x7f.",
            b"X\xff\xff\xff\xff.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"}(K\x01u.",
            b"\x80\x06N.",
            b"\x8a\x11aaaaaaaaaaaaaaaaa.",
            b"ca\nB\nNb.",
            b"NN\x81.",
            b"\x8c\x01\xff.",
            b"P.",
        ] {
            let said = said(odd);
            assert!(said.contains(": "), "{odd:?}: {said}");
        }
    }
}
