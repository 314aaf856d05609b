//! A strict parser of RFC 5424, section 6, written from its grammar.

pub(crate) struct Parsed<'a> {
    pub(crate) priority: u8,
    pub(crate) timestamp: &'a str,
    pub(crate) message_id: &'a str,
    elements: Vec<(&'a str, Vec<(&'a str, String)>)>,
    pub(crate) message: &'a str,
}

pub(crate) struct Owned {
    pub(crate) priority: u8,
    pub(crate) message: String,
}

impl Parsed<'_> {
    pub(crate) fn parameter(&self, element: &str, name: &str) -> &str {
        let (_, parameters) = self.elements.iter().find(|(id, _)| *id == element).expect("the element");
        let (_, value) = parameters.iter().find(|(known, _)| *known == name).expect("the parameter");
        value
    }

    pub(crate) fn owned(&self) -> Owned {
        Owned { priority: self.priority, message: self.message.to_owned() }
    }
}

pub(crate) fn parse(line: &str) -> Parsed<'_> {
    let (priority, rest) = line.strip_prefix('<').unwrap().split_once('>').unwrap();
    let mut words = rest.splitn(7, ' ');
    let mut word = |length_max: usize| {
        let word = words.next().unwrap();
        assert!(!word.is_empty() && word.len() <= length_max, "{word} in {line}");
        assert!(word.bytes().all(|byte| (33..=126).contains(&byte)), "PRINTUSASCII: {word}");
        word
    };
    assert_eq!(word(1), "1");
    let timestamp = word(32);
    assert!(timestamp == "-" || is_timestamp(timestamp), "{timestamp}");
    let (_hostname, app_name, process) = (word(255), word(48), word(128));
    assert_eq!(app_name, "postern");
    process.parse::<u32>().unwrap();
    let message_id = word(32);
    let rest = words.next().unwrap();
    let (elements, message) = structured_data(rest);
    assert!(message.bytes().all(|byte| (32..127).contains(&byte)), "{message}");
    Parsed { priority: priority.parse().unwrap(), timestamp, message_id, elements, message }
}

fn is_timestamp(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.dddZ";
    let fits = |(character, wanted): (char, char)| match wanted {
        'd' => character.is_ascii_digit(),
        wanted => character == wanted,
    };
    text.len() == pattern.len() && text.chars().zip(pattern.chars()).all(fits)
}

type Elements<'a> = Vec<(&'a str, Vec<(&'a str, String)>)>;

fn structured_data(mut rest: &str) -> (Elements<'_>, &str) {
    let mut elements = Vec::new();
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']']).unwrap();
        let (id, mut parameters) = element.split_at(end);
        assert!(id.len() <= 32 && !id.contains(['=', '"']), "{id}");
        let mut found = Vec::new();
        while let Some(parameter) = parameters.strip_prefix(' ') {
            let (name, value) = parameter.split_once("=\"").unwrap();
            assert!(!name.is_empty() && name.len() <= 32 && !name.contains([' ', ']', '"']), "{name}");
            let (value, after) = quoted(value);
            found.push((name, value));
            parameters = after;
        }
        elements.push((id, found));
        rest = parameters.strip_prefix(']').unwrap();
    }
    assert!(!elements.is_empty());
    (elements, rest.strip_prefix(' ').unwrap())
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            ']' => panic!("an unescaped bracket in {text}"),
            '\\' => value.push(characters.next().unwrap().1),
            other => value.push(other),
        }
    }
    panic!("no closing quote in {text}");
}
