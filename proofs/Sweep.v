(* The sweep over the columns of one row.

   Column j is rounded from its working value, and its error against the original weight is at once
   pushed onto every later column. The quantiser Q is any function of the column and of a real number,
   quantising and decoding in one: it may clip, truncate, or be no rounding at all. Before its turn a
   column stands for itself, so its error is nil.

   [work] says what the working value is, in closed form, for decoded weights q that came from anywhere. *)

From Coq Require Import Reals Lra Lia Arith.
From Assay Require Import FiniteSums.
Open Scope R_scope.

Definition work (V : nat -> nat -> R) (w q : nat -> R) (j : nat) : R :=
  w j + \sum_(i < j) ((w i - q i) * V i j).

Record state := { working : nat -> R; decoded : nat -> R }.

Definition step (V : nat -> nat -> R) (Q : nat -> R -> R) (w : nat -> R) (j : nat) (s : state) : state :=
  let q := Q j (working s j) in
  {| working := fun k => if (j <? k)%nat then working s k + (w j - q) * V j k else working s k;
     decoded := fun k => if (k =? j)%nat then q else decoded s k |}.

Fixpoint sweep (V : nat -> nat -> R) (Q : nat -> R -> R) (w : nat -> R) (n : nat) : state :=
  match n with
  | O => {| working := w; decoded := w |}
  | S j => step V Q w j (sweep V Q w j)
  end.

(* Rounding without feedback. *)
Definition rounded (Q : nat -> R -> R) (w : nat -> R) (j : nat) : R := Q j (w j).

Lemma work_ext : forall V w p q j,
  (forall i, (i < j)%nat -> p i = q i) -> work V w p j = work V w q j.
Proof.
  intros V w p q j same. unfold work. f_equal. apply sum_ext; intros i ?.
  rewrite same by assumption. reflexivity.
Qed.

Lemma decoded_ahead : forall V Q w n k, (n <= k)%nat -> decoded (sweep V Q w n) k = w k.
Proof.
  intros V Q w n; induction n as [|n IH]; intros k ahead; simpl; [reflexivity|].
  destruct (Nat.eqb_spec k n); [lia|]. apply IH. lia.
Qed.

Lemma working_is_work : forall V Q w n k,
  working (sweep V Q w n) k = work V w (decoded (sweep V Q w n)) k.
Proof.
  intros V Q w n; induction n as [|n IH]; intros k.
  - unfold work. simpl. rewrite sum_zero by (intros; ring). ring.
  - simpl. destruct (Nat.ltb_spec n k) as [later|earlier].
    + rewrite IH. unfold work. rewrite Rplus_assoc. f_equal. symmetry.
      rewrite (sum_change _ _ (fun i => (w i - decoded (sweep V Q w n) i) * V i k) n) by
        (assumption || (intros i ? ?; destruct (Nat.eqb_spec i n); [contradiction|reflexivity])).
      rewrite Nat.eqb_refl, (decoded_ahead V Q w n n), IH by lia. unfold work. ring.
    + rewrite IH. apply work_ext. intros i ?. destruct (Nat.eqb_spec i n); [lia|reflexivity].
Qed.

Lemma decoded_is_final : forall V Q w n k,
  (k < n)%nat -> decoded (sweep V Q w n) k = Q k (working (sweep V Q w n) k).
Proof.
  intros V Q w n; induction n as [|n IH]; intros k done; [lia|]. simpl.
  destruct (Nat.eqb_spec k n) as [->|other].
  - rewrite (proj2 (Nat.ltb_ge n n)) by lia. reflexivity.
  - rewrite (proj2 (Nat.ltb_ge n k)) by lia. apply IH. lia.
Qed.

(* What the sweep computes is the recursion: q_j = Q_j(work_j). *)
Theorem sweep_is_the_recursion : forall V Q w n j,
  (j < n)%nat -> decoded (sweep V Q w n) j = Q j (work V w (decoded (sweep V Q w n)) j).
Proof. intros. rewrite decoded_is_final, working_is_work by assumption. reflexivity. Qed.

(* The recursion has one solution only: whatever satisfies it is what the sweep computes. *)
Lemma recursion_is_unique : forall V Q w n q,
  (forall j, (j < n)%nat -> q j = Q j (work V w q j)) ->
  forall j, (j < n)%nat -> q j = decoded (sweep V Q w n) j.
Proof.
  intros V Q w n q rule j. induction j as [j IH] using lt_wf_ind. intros inside.
  rewrite rule, sweep_is_the_recursion by assumption. f_equal. apply work_ext. intros i ?. apply IH; lia.
Qed.
