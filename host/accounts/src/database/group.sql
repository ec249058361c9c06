-- What all members of a group may, beside what each of them may. Since version 5.

CREATE TABLE member_group (
    id             INTEGER PRIMARY KEY,          -- `group_id` of its members
    enabled        INTEGER NOT NULL,
    immune         INTEGER NOT NULL,
    freeleech      INTEGER NOT NULL,
    double_upload  INTEGER NOT NULL,
    slots          INTEGER                       -- NULL: any number
) STRICT;
