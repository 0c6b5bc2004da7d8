"""The hospital with known truth: patients from published structural equations, written as MIMIC-IV tables."""
