//! The console for people, on any terminal: plain ASCII, 80 columns, no escape sequence is sent.
//!
//! | module | is |
//! | --- | --- |
//! | [`screen`] | what is to be shown, in a bounded buffer |
//! | [`editor`] | one line of input |
//! | [`words`] | a line in words, with the column of each |
//! | [`value`] | times, ports and knocks as people write them |
//! | [`site_lines`] | a site as the lines that would make it |
//! | [`rules`] | why a site cannot be run |
//! | [`edit`] | what `set` and `delete` do to a site |
//! | [`grammar`] | which words there are, for help, completion and abbreviations |

pub mod edit;
pub mod editor;
pub mod grammar;
pub mod rules;
pub mod screen;
pub mod site_lines;
pub mod value;
pub mod weak_lines;
pub mod words;
