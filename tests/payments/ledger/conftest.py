from tests.support.desk_fixtures import books

__all__ = ["books"]
