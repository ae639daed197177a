//! Partway: a resumable-upload server that can be asked what has arrived.

pub mod auth;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod graphql;
pub mod rest;
pub mod service;
pub mod storage;
pub mod telemetry;
