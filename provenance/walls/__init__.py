"""The walls of the database that fall most easily, each compared with the code in words of its own."""
