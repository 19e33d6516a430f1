"""Stylize pictures: one or many, whole or in strips, here or by a service."""
