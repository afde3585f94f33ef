"""Types of fields that configurations need, beyond those of Pydantic."""
