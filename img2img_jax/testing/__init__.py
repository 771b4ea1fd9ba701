"""Test doubles that ship with the package."""

from .analytic import AnalyticDenoiser as AnalyticDenoiser
