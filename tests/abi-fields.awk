# SPDX-License-Identifier: MIT
#
# abi-fields.awk - shared/abi.h as input for tests/abi-table.c.
#
# Prints one line for each struct, field and constant:
#	STRUCT(name, "doc")  FIELD(struct, field, "type", "doc")
#	HEADING("text")      END(name)      CONSTANT(name, "doc")
# The compiler then adds offsets and sizes.  Understands the form in which
# abi.h is written, and fails on a line inside a struct that it does not.

function quote(text)
{
	gsub(/\\/, "\\\\", text)
	gsub(/"/, "\\\"", text)
	return "\"" text "\""
}

function squeeze(text)
{
	gsub(/[ \t]+/, " ", text)
	sub(/^ /, "", text)
	sub(/ $/, "", text)
	return text
}

# A block comment of its own: doc holds it until something else follows.
/^[ \t]*\/\*/ && !incomment {
	doc = ""
	incomment = 1
}
incomment {
	line = $0
	sub(/^[ \t]*\/\*/, "", line)
	done = (line ~ /\*\//)
	sub(/\*\/.*/, "", line)
	sub(/^[ \t]*\*/, "", line)
	line = squeeze(line)
	doc = doc (doc != "" && line != "" ? " " : "") line
	if (done) {
		incomment = 0
		if (instruct) {
			print "HEADING(" quote(doc) ")"
			doc = ""
		}
	}
	next
}

/^struct bs_abi_[a-z]+ \{$/ {
	instruct = 1
	name = $2
	print "STRUCT(" name ", " quote(doc) ")"
	doc = ""
	next
}

/^};/ && instruct {
	instruct = 0
	print "END(" name ")"
	doc = ""
	next
}

instruct {
	line = $0
	comment = ""
	if (match(line, /\/\*.*/)) {
		comment = substr(line, RSTART + 2)
		line = substr(line, 1, RSTART - 1)
		while (comment !~ /\*\// && (getline more) > 0)
			comment = comment " " more
		sub(/\*\/.*/, "", comment)
		comment = squeeze(comment)
	}
	line = squeeze(line)
	if (line !~ /^(struct )?[a-z0-9_]+ [a-z0-9_]+(\[[A-Z0-9_ +]+\])*;$/) {
		print "abi-fields.awk: line " NR ": " $0 > "/dev/stderr"
		exit 1
	}
	sub(/;$/, "", line)
	dims = ""
	if (match(line, /\[.*/)) {
		dims = substr(line, RSTART)
		line = substr(line, 1, RSTART - 1)
	}
	field = line
	sub(/.* /, "", field)
	type = line
	sub(/ [^ ]*$/, "", type)
	print "FIELD(" name ", " field ", " quote(type dims) ", " \
		quote(comment) ")"
	next
}

/^#define BS_[A-Z0-9_]+[ \t]+[^ \t\\]/ {
	line = $0
	comment = ""
	if (match(line, /\/\*.*\*\//)) {
		comment = substr(line, RSTART + 2, RLENGTH - 4)
		line = substr(line, 1, RSTART - 1)
	}
	split(line, word)
	if (doc != "") {
		print "HEADING(" quote(doc) ")"
		doc = ""
	}
	print "CONSTANT(" word[2] ", " quote(squeeze(comment)) ")"
	next
}

{
	doc = ""
}
