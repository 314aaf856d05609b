//! A person at the console, without a tty and without a daemon: a scripted gateway answers.

mod gateway;
mod noise;
mod person;
mod stories;
mod ways;
