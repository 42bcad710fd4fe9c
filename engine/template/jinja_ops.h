/* Operators: attributes, items, slices, arithmetic, containment. */
#ifndef WICARA_TEMPLATE_JINJA_OPS_H
#define WICARA_TEMPLATE_JINJA_OPS_H

#include "engine/template/jinja_number.h"
#include "engine/template/jinja_value.h"

/* a.name: method or attribute first, then key. An undefined value when there is neither; fails when
 * `object` is undefined itself. */
struct value value_attribute(struct jinja *j, struct value object, const struct text *name);
/* a[index]: key or element first, then method or attribute. */
struct value value_item(struct jinja *j, struct value object, struct value index);
/* a[start:stop:step]; MISSING or None for what is left out. */
struct value value_slice(struct jinja *j, struct value object, struct value start,
                         struct value stop, struct value step);
struct value value_binary(struct jinja *j, enum arithmetic op, struct value a, struct value b);
bool value_contains(struct jinja *j, struct value container, struct value item);

#endif
