//! Partway: a resumable-upload server that can be asked what has arrived.

pub mod app;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod graphql;
pub mod rest;
pub mod service;
pub mod storage;
pub mod telemetry;
pub mod web;
